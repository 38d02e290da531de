/** A server on a real store in a directory of its own, and the plainest clients of it. */

import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type EmbeddedStore, type OpenOptions, open } from '../../src/open.js'
import { type Server, type ServerOptions, startServer } from '../../src/server/server.js'

export type Answer = {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  /** The body as JSON. */
  readonly json: unknown
}

export type Asked = {
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | undefined
  /** Default: the server's token. */
  readonly token?: string | undefined
}

export class Serving implements AsyncDisposable {
  readonly directory: string
  readonly store: EmbeddedStore
  readonly server: Server
  readonly log: string[]

  private constructor(directory: string, store: EmbeddedStore, server: Server, log: string[]) {
    this.directory = directory
    this.store = store
    this.server = server
    this.log = log
  }

  static async start(
    options: Partial<ServerOptions> = {},
    opening: OpenOptions = {},
  ): Promise<Serving> {
    const directory = await mkdtemp(join(tmpdir(), 'tailrace-server-'))
    return Serving.#startOn(directory, options, opening)
  }

  /** Another server on the same directory, whose caches are empty. This one has then ended. */
  async reopen(options: Partial<ServerOptions> = {}): Promise<Serving> {
    await this.close()
    return Serving.#startOn(this.directory, options, {})
  }

  static async #startOn(
    directory: string,
    options: Partial<ServerOptions>,
    opening: OpenOptions,
  ): Promise<Serving> {
    const log: string[] = []
    const store = await open({ directory, ...opening })
    const server = await startServer(store, {
      directory,
      listen: ['127.0.0.1:0'],
      log: (line) => log.push(line),
      ...options,
    })
    return new Serving(directory, store, server, log)
  }

  get url(): string {
    return String(this.server.urls[0])
  }

  async ask(method: string, path: string, asked: Asked = {}): Promise<Answer> {
    const { token = this.server.token, headers, body } = asked
    const response = await fetch(this.url + path, {
      method,
      headers: { ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers },
      ...(body === undefined ? {} : { body }),
    })
    const bytes = Buffer.from(await response.arrayBuffer())
    return answerOf(response.status, Object.fromEntries(response.headers), bytes)
  }

  /** Over the Unix socket, where no token is asked for. */
  async askLocally(method: string, path: string, asked: Asked = {}): Promise<Answer> {
    const { headers, body } = asked
    const socketPath = this.server.socket
    // For a DELETE, Node's client does not tell the length: the body would be a request behind it.
    const isSized = body === undefined || (headers && 'transfer-encoding' in headers)
    const length = isSized ? {} : { 'content-length': Buffer.byteLength(body) }
    const request = httpRequest({
      ...{ socketPath, method, path },
      headers: { host: 'any', ...length, ...headers },
    })
    request.end(body)
    const [response] = await once(request, 'response')
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk)
    return answerOf(response.statusCode, response.headers, Buffer.concat(chunks))
  }

  async close(): Promise<void> {
    await this.server.stop()
    await this.store[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
    await rm(this.directory, { recursive: true, force: true })
  }
}

/** Asserts the exact envelope. `failed` is there on what is a transaction, and only there. */
export function expectError(answer: Answer, status: number, code: string, message = /./): void {
  const { failed } = (answer.json as { readonly error: { readonly failed?: unknown } }).error
  expect(answer.json).toEqual({
    error: { code, message: expect.stringMatching(message), ...(failed ? { failed } : {}) },
  })
  expect(answer.status).toBe(status)
  expect(answer.headers['content-type']).toBe('application/json; charset=utf-8')
  expect(answer.headers['tailrace-error']).toBe(code)
}

export function answerOf(status: number, headers: IncomingHttpHeaders, body: Buffer): Answer {
  return {
    status,
    headers,
    body,
    get json() {
      return JSON.parse(body.toString())
    },
  }
}
