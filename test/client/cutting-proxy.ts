/** A proxy between client and server, on Unix sockets or on TCP, that cuts connections where it is told to.
 *  Websockets are known by the first line of their request. */

import { once } from 'node:events'
import {
  type AddressInfo,
  connect,
  createServer,
  type NetConnectOpts,
  type Server,
  type Socket,
} from 'node:net'

/** The bytes that a websocket may still bring from the server (undefined: it is none), and whether the last request
 *  that went through was a write. Each frame of a websocket counts as one. */
type Allowed = { bytes: number | undefined; writing: boolean }

const requestLine = /^[A-Z]+ \/\S* HTTP\/1\.1$/
const writeLine = /^(POST|PUT|DELETE) \/v1\/(?!read)/

export class CuttingProxy {
  /** Where it listens, as a client's target. */
  readonly target: string
  readonly #upstream: NetConnectOpts
  readonly #server: Server
  readonly #pairs = new Set<readonly [Socket, Socket]>()
  /** Bytes from the server that the next websockets may pass on before they are cut, in order. */
  readonly #cuts: number[] = []
  #closed = false
  #held = false
  /** Answers to writes that shall still be lost. */
  #losing = 0
  #lost: () => void = () => {}
  /** What was sent while writes are held, with where it goes. */
  #heldWrites: { readonly upstream: Socket; readonly chunk: Buffer }[] | undefined
  /** Websockets that were opened through here so far, and the bytes that they brought from the server and to it. */
  sockets = 0
  /** Connections that were cut at once, since it was closed. */
  refused = 0
  socketBytes = 0
  askedBytes = 0
  /** The first lines of what came for clients that had gone. */
  readonly lateAnswers: string[] = []
  /** The first lines of all requests that opened a connection. */
  readonly requests: string[] = []

  private constructor(server: Server, target: string, upstream: NetConnectOpts) {
    this.target = target
    this.#upstream = upstream
    this.#server = server
    server.on('connection', (client) => this.#accept(client))
  }

  /** On a Unix socket in the directory, before another. */
  static async start(directory: string, upstream: string): Promise<CuttingProxy> {
    const path = `${directory}/proxy.sock`
    const server = createServer().listen(path)
    await once(server, 'listening')
    return new CuttingProxy(server, `unix:${path}`, { path: upstream })
  }

  /** On a port of its own, before a port: `HOST:PORT`. */
  static async startTcp(upstream: string): Promise<CuttingProxy> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const { hostname: host, port: behind } = new URL(`http://${upstream}`)
    const options = { host, port: Number(behind) }
    return new CuttingProxy(server, `http://127.0.0.1:${port}`, options)
  }

  /** The next websockets are cut after so many bytes from the server, one number each. */
  cutAfter(...bytes: number[]): void {
    this.#cuts.push(...bytes)
  }

  /** Cuts everything that is open. */
  cut(): void {
    for (const pair of [...this.#pairs]) this.#end(pair)
  }

  /** Cuts everything, and every connection that comes, until `open`. */
  close(): void {
    this.#closed = true
    this.cut()
  }

  open(): void {
    this.#closed = false
  }

  /** Requests reach the server, and answers stay here. */
  holdAnswers(): void {
    this.#held = true
  }

  /** The next writes reach the server, which answers them, and then the connection is cut: `lost` is called
   *  before. */
  loseAnswers(count: number, lost: () => void = () => {}): void {
    this.#losing = count
    this.#lost = lost
  }

  /** Answers that shall still be lost. */
  get losing(): number {
    return this.#losing
  }

  /** Writes stay here, on their way, whatever becomes of who sent them, until `releaseWrites`. */
  holdWrites(): void {
    this.#heldWrites = []
  }

  get writesHeld(): number {
    return this.#heldWrites?.length ?? 0
  }

  /** They arrive now, and so does what comes. */
  releaseWrites(): void {
    const held = this.#heldWrites ?? []
    this.#heldWrites = undefined
    for (const { upstream, chunk } of held) upstream.write(chunk)
  }

  get connections(): number {
    return this.#pairs.size
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
    if (!this.#server.listening) return
    this.#server.close()
    await once(this.#server, 'close')
  }

  #accept(client: Socket): void {
    if (this.#closed) {
      this.refused++
      client.destroy()
      return
    }
    const upstream = connect(this.#upstream)
    const pair = [client, upstream] as const
    this.#pairs.add(pair)
    for (const socket of pair) {
      socket.on('error', () => {})
      socket.once('close', () => this.#end(pair))
    }
    const allowed: Allowed = { bytes: undefined, writing: false }
    upstream.on('data', (chunk) => this.#passOn(pair, chunk, allowed))
    let requests = 0
    client.on('data', (chunk: Buffer) => {
      const line = firstLine(chunk)
      if (requests++ === 0) this.requests.push(line)
      // Not always the first: some clients open a websocket where they had asked before.
      if (line.startsWith('GET /v1/ws')) allowed.bytes = this.#countSocket()
      else if (allowed.bytes !== undefined) {
        allowed.writing = true
        this.askedBytes += chunk.length
      }
      if (requestLine.test(line)) allowed.writing = writeLine.test(line)
      if (this.#heldWrites && allowed.writing) {
        this.#heldWrites.push({ upstream, chunk })
        return
      }
      if (upstream.write(chunk)) return
      client.pause()
      upstream.once('drain', () => client.resume())
    })
  }

  #countSocket(): number {
    this.sockets++
    return this.#cuts.shift() ?? Number.POSITIVE_INFINITY
  }

  #passOn(pair: readonly [Socket, Socket], chunk: Buffer, allowed: Allowed): void {
    const [client, upstream] = pair
    if (client.destroyed) this.lateAnswers.push(firstLine(chunk))
    if (this.#held || client.destroyed) return
    if (allowed.writing && this.#losing > 0) {
      this.#losing--
      this.#lost()
      this.#end(pair)
      return
    }
    const left = allowed.bytes ?? Number.POSITIVE_INFINITY
    if (allowed.bytes !== undefined) this.socketBytes += chunk.length
    if (chunk.length < left) {
      if (allowed.bytes !== undefined) allowed.bytes -= chunk.length
      if (client.write(chunk)) return
      upstream.pause()
      client.once('drain', () => upstream.resume())
      return
    }
    // The last bytes before the cut still arrive.
    allowed.bytes = 0
    client.end(chunk.subarray(0, left), () => this.#end(pair))
    upstream.destroy()
  }

  #end(pair: readonly [Socket, Socket]): void {
    this.#pairs.delete(pair)
    const [client, upstream] = pair
    client.destroy()
    // What is held is on its way still.
    if (!this.#heldWrites?.some((each) => each.upstream === upstream)) upstream.destroy()
  }
}

function firstLine(chunk: Buffer): string {
  return chunk.toString('latin1').split('\r\n')[0] ?? ''
}
