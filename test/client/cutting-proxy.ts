/** A proxy between client and server, on Unix sockets, that cuts connections where it is told to.
 *  Websockets are known by the first line of their request. */

import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

export class CuttingProxy {
  readonly path: string
  readonly #upstream: string
  readonly #server: Server
  readonly #pairs = new Set<readonly [Socket, Socket]>()
  /** Bytes from the server that the next websockets may pass on before they are cut, in order. */
  readonly #cuts: number[] = []
  #closed = false
  #held = false
  /** Websockets that were opened through here so far, and the bytes that they brought from the server. */
  sockets = 0
  socketBytes = 0
  /** The first lines of all requests that opened a connection. */
  readonly requests: string[] = []

  private constructor(path: string, upstream: string) {
    this.path = path
    this.#upstream = upstream
    this.#server = createServer((client) => this.#accept(client))
  }

  static async start(directory: string, upstream: string): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(`${directory}/proxy.sock`, upstream)
    proxy.#server.listen(proxy.path)
    await once(proxy.#server, 'listening')
    return proxy
  }

  get target(): string {
    return `unix:${this.path}`
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

  get connections(): number {
    return this.#pairs.size
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #accept(client: Socket): void {
    if (this.#closed) {
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
    client.once('data', (first: Buffer) => {
      const line = first.toString('latin1').split('\r\n')[0] ?? ''
      this.requests.push(line)
      const left = line.startsWith('GET /v1/ws') ? this.#countSocket() : undefined
      upstream.on('data', (chunk) => this.#passOn(pair, chunk, left))
      upstream.write(first)
      client.pipe(upstream)
    })
  }

  #countSocket(): { bytes: number } {
    this.sockets++
    return { bytes: this.#cuts.shift() ?? Number.POSITIVE_INFINITY }
  }

  #passOn(
    pair: readonly [Socket, Socket],
    chunk: Buffer,
    left: { bytes: number } | undefined,
  ): void {
    const [client, upstream] = pair
    if (this.#held || client.destroyed) return
    if (left) this.socketBytes += chunk.length
    if (!left || chunk.length < left.bytes) {
      if (left) left.bytes -= chunk.length
      if (client.write(chunk)) return
      upstream.pause()
      client.once('drain', () => upstream.resume())
      return
    }
    // The last bytes before the cut still arrive.
    const rest = left.bytes
    left.bytes = 0
    client.end(chunk.subarray(0, rest), () => this.#end(pair))
    upstream.destroy()
  }

  #end(pair: readonly [Socket, Socket]): void {
    this.#pairs.delete(pair)
    for (const socket of pair) socket.destroy()
  }
}
