/** How long one request keeps the event loop of a server from everybody else: rfc/12, rule 33. The server is a
 *  process of its own, and a thread beside its loop measures; what asks it here shares neither.
 *
 *      await using serving = await Stalling.start((store) => fill(store))
 *      await serving.expectNoStall(() => serving.ask('GET', '/v1/list/'))
 *
 *  A busy machine only makes stalls longer, so that a claim is about the shortest of some tries: one within the bound
 *  is enough. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type EmbeddedStore, open } from '../../src/open.js'
import { stallMsMax } from '../../src/server/pace.js'
import { type Bundles, bundle } from '../support/bundle.js'

/** The bound that tests assert, in ms: twice the promise of the server, since machines differ. */
const stallBoundMs = 2 * stallMsMax
/** The most tries of a claim. */
const triesMax = 3

export type Asked = {
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | AsyncIterable<Uint8Array>
}

export class Stalling implements AsyncDisposable {
  readonly directory: string
  /** Path of the Unix socket: whoever asks there is the owner. */
  readonly socket: string
  readonly #process: ChildProcess
  readonly #programs: Bundles<'child'>

  private constructor(
    directory: string,
    socket: string,
    process: ChildProcess,
    programs: Bundles<'child'>,
  ) {
    this.directory = directory
    this.socket = socket
    this.#process = process
    this.#programs = programs
  }

  /** `fill` puts in what shall be there, before the server starts. */
  static async start(fill: (store: EmbeddedStore) => Promise<void>): Promise<Stalling> {
    const directory = await mkdtemp(join(tmpdir(), 'tailrace-stall-'))
    const store = await open({ directory })
    try {
      await fill(store)
    } finally {
      await store[Symbol.asyncDispose]()
    }
    const programs = await bundle({ child: 'test/server/stall-child.ts' })
    const args = ['--expose-gc', programs.files.child, directory]
    const process_ = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
    const [line] = await once(process_.stdout ?? process_, 'data')
    return new Stalling(directory, String(line).trim(), process_, programs)
  }

  /** For `connect` of the client. */
  get target(): string {
    return `unix:${this.socket}`
  }

  /** Expects that the server's loop stands still for less than the bound while `work` runs, in one of some tries. */
  async expectNoStall(work: () => Promise<unknown>): Promise<void> {
    const stalls: number[] = []
    while (stalls.length < triesMax) {
      await this.#tell('begin')
      await work()
      stalls.push(await this.#tell('end'))
      if (Math.min(...stalls) < stallBoundMs) return
    }
    expect.fail(`the loop stood still for ${stalls.map(Math.round).join(', ')} ms`)
  }

  /** Asks over HTTP; the answer's bytes are counted and dropped. */
  async ask(
    method: string,
    path: string,
    { headers = {}, body }: Asked = {},
  ): Promise<{ readonly status: number; readonly size: number }> {
    const { socket: socketPath } = this
    const request = httpRequest({ socketPath, method, path, headers: { host: 'any', ...headers } })
    const answered = once(request, 'response')
    if (body !== undefined && typeof body === 'object' && Symbol.asyncIterator in body) {
      for await (const chunk of body) if (!request.write(chunk)) await once(request, 'drain')
      request.end()
    } else request.end(body)
    const [response] = await answered
    let size = 0
    for await (const chunk of response) size += chunk.length
    return { status: response.statusCode, size }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#process, 'close')
    this.#process.kill('SIGKILL')
    await closed
    await this.#programs[Symbol.asyncDispose]()
    await rm(this.directory, { recursive: true, force: true })
  }

  async #tell(message: 'begin' | 'end'): Promise<number> {
    const told = once(this.#process, 'message')
    this.#process.send(message)
    const [longest] = await told
    return longest
  }
}
