/** An HTTP proxy between client and server that answers in the server's place where it is told to: as load
 *  balancers and captive portals do. Websockets too. */

import { once } from 'node:events'
import {
  createServer,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

/** An answer in the server's place. */
export type Lie = {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** The server gets the request, and its answer is dropped. */
  readonly afterServer?: true
  /** The connection ends after the body, however much was promised. */
  readonly cut?: true
  /** Nothing is read, and after the head and the body (status 0: not even those) nothing comes. */
  readonly mute?: true
  /** Requests that it is for: `PUT /v1/kv/k`. Others get the truth meanwhile. */
  readonly only?: RegExp
}

const html = { 'content-type': 'text/html' }
const json = { 'content-type': 'application/json' }

/** What stands in the way of real servers. */
export const lies: Readonly<Record<string, Lie>> = {
  '502 HTML': { status: 502, headers: html, body: '<html>Bad Gateway</html>' },
  '503 without a word': { status: 503 },
  '504 HTML after the server got it': {
    status: 504,
    headers: html,
    body: '<html>Gateway Time-out</html>',
    afterServer: true,
  },
  '500 JSON of a proxy': {
    status: 500,
    headers: json,
    body: '{"error":{"code":500,"message":"upstream"}}',
    afterServer: true,
  },
  '404 of a router without a backend': {
    status: 404,
    headers: { 'content-type': 'text/plain' },
    body: '404 page not found',
  },
  '200 HTML of a captive portal': { status: 200, headers: html, body: '<html>Log in</html>' },
  '302 to a captive portal': { status: 302, headers: { location: 'http://login.example/' } },
  'an answer that is cut in its middle': {
    status: 200,
    headers: { ...json, 'content-length': '100' },
    body: '{"seq":',
    afterServer: true,
    cut: true,
  },
  'JSON that stops': { status: 200, headers: json, body: '{"seq":', afterServer: true },
}

export class LyingProxy {
  readonly #upstream: string
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #lies: Lie[] = []
  /** Requests that were answered here, and that went through. */
  told = 0
  passed = 0

  private constructor(upstream: string, server: Server) {
    this.#upstream = upstream
    this.#server = server
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
    server.on('request', (asked, answer) => void this.#answer(asked, answer))
    server.on('upgrade', (asked, socket: Socket, head: Buffer) =>
      this.#upgrade(asked, socket, head),
    )
  }

  static async start(upstream: string): Promise<LyingProxy> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new LyingProxy(upstream, server)
  }

  get target(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** The next requests get this, one each. */
  lie(times: number, lie: Lie): void {
    this.#lies.push(...Array.from({ length: times }, () => lie))
  }

  /** The next requests get the truth. */
  stop(): void {
    this.#lies.length = 0
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close()
    this.cut()
    await once(this.#server, 'close')
  }

  async #answer(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    const lie = this.#lieFor(asked)
    if (!lie) {
      this.passed++
      const real = await this.#ask(asked)
      answer.writeHead(real.statusCode ?? 0, real.headers)
      real.pipe(answer)
      return
    }
    if (lie.mute && lie.status === 0) {
      this.told++
      return
    }
    if (lie.afterServer) {
      const real = await this.#ask(asked)
      await once(real.resume(), 'end')
    } else if (!asked.readableEnded) await once(asked.resume(), 'end')
    this.told++
    answer.writeHead(lie.status, lie.headers ?? {})
    if (lie.mute) answer.write(lie.body ?? '')
    else if (!lie.cut) answer.end(lie.body)
    else answer.write(lie.body ?? '', () => answer.destroy())
  }

  #lieFor({ method, url }: IncomingMessage): Lie | undefined {
    const { only } = this.#lies[0] ?? {}
    return only && !only.test(`${method} ${url}`) ? undefined : this.#lies.shift()
  }

  async #ask(asked: IncomingMessage): Promise<IncomingMessage> {
    const { method, url: path, headers } = asked
    const asking = request({ socketPath: this.#upstream, method, path, headers, agent: false })
    asking.on('error', () => asked.destroy())
    asked.pipe(asking)
    const [real] = (await once(asking, 'response')) as [IncomingMessage]
    return real
  }

  #upgrade(asked: IncomingMessage, socket: Socket, head: Buffer): void {
    const lie = this.#lieFor(asked)
    if (lie) {
      this.told++
      socket.end(`HTTP/1.1 ${lie.status} Lie\r\ncontent-type: text/html\r\n\r\n${lie.body ?? ''}`)
      return
    }
    this.passed++
    const { url: path, headers } = asked
    const asking = request({ socketPath: this.#upstream, path, headers, agent: false })
    // A server that ends meanwhile resets it.
    asking.on('error', () => socket.destroy())
    asking.once('upgrade', (real, upstream: Socket) => {
      const lines = Object.entries(real.headers).map(([name, value]) => `${name}: ${value}\r\n`)
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('')}\r\n`)
      upstream.write(head)
      upstream.pipe(socket).pipe(upstream)
      upstream.on('error', () => socket.destroy())
      socket.on('error', () => upstream.destroy())
      socket.once('close', () => upstream.destroy())
    })
    asking.end()
  }
}
