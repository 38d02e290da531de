/** Requests as bytes on a socket, and what came back: for what no client library would send. */

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Serving } from './serving.js'

export class Raw implements AsyncDisposable {
  readonly socket: Socket
  #text = ''
  /** The code of what ended the connection, if it did not end orderly. */
  failure: string | undefined

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1')
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.failure = error.code
    })
  }

  static async overTcp(serving: Serving): Promise<Raw> {
    const [host, port] = serving.server.listen[0]?.split(':') ?? []
    return Raw.#open(connect(Number(port), host))
  }

  static async overTls(serving: Serving, ca: Buffer): Promise<Raw> {
    const [host, port] = serving.server.listen[0]?.split(':') ?? []
    const socket = connectTls(Number(port), host, { ca })
    await once(socket, 'secureConnect')
    return new Raw(socket)
  }

  static async overSocket(serving: Serving): Promise<Raw> {
    return Raw.#open(connect(serving.server.socket))
  }

  static async #open(socket: Socket): Promise<Raw> {
    await once(socket, 'connect')
    return new Raw(socket)
  }

  /** Lines end with CRLF; the last header is followed by an empty line. */
  send(lines: readonly string[], body = ''): this {
    this.socket.write(`${lines.join('\r\n')}\r\n\r\n${body}`, 'latin1')
    return this
  }

  get text(): string {
    return this.#text
  }

  /** Resolves when `pattern` is in what came. Throws when the connection ends without it. */
  async until(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.#text)) {
      if (this.socket.closed) throw new Error(`closed after: ${this.#text}`)
      await Promise.race([once(this.socket, 'data'), once(this.socket, 'close')]).catch(() => {})
    }
    return this.#text
  }

  /** All that came, once the connection has ended. */
  async end(): Promise<string> {
    while (!this.socket.closed) await once(this.socket, 'close').catch(() => {})
    return this.#text
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy()
    await this.end()
  }
}

/** The envelope's code with the status, as `415 EINVAL`. */
export function refusalIn(text: string): string {
  const status = /^HTTP\/1\.1 (\d+)/.exec(text)?.[1]
  return `${status} ${/\{"error":\{"code":"([A-Z0-9]+)"/.exec(text)?.[1]}`
}
