/** What the tests of jobs share: a store in memory with a runner of its own bounds, and what a job
 *  left in it. */

import type { Event } from '../../src/api/event.js'
import type { JobView, Submission } from '../../src/api/job.js'
import { readEvents } from '../../src/eventlog/eventlog.js'
import { readStream } from '../../src/eventlog/read-stream.js'
import { decodeOutput, type OutputEvent, type Stream } from '../../src/eventlog/stdio.js'
import { eventsKey, type JobKvs, outputKey } from '../../src/job/keys.js'
import { JobRunner, type JobRunnerOptions } from '../../src/job/runner.js'
import { type EmbeddedStore, open } from '../../src/open.js'

const env = { PATH: process.env['PATH'] ?? '/usr/bin:/bin' }
const scope = { namespace: 'jobs' }

export class Harness implements AsyncDisposable {
  readonly store: EmbeddedStore
  readonly kvs: JobKvs
  readonly runner: JobRunner

  private constructor(store: EmbeddedStore, kvs: JobKvs, runner: JobRunner) {
    this.store = store
    this.kvs = kvs
    this.runner = runner
  }

  /** `wrap` puts itself between the runner and the store. */
  static async open(
    options?: Partial<JobRunnerOptions>,
    wrap?: (kvs: JobKvs) => JobKvs,
  ): Promise<Harness> {
    const store = await open({})
    const runner = await JobRunner.open({ kvs: wrap ? wrap(store.kvs) : store.kvs, ...options })
    return new Harness(store, store.kvs, runner)
  }

  /** A runner as the next server would open it. */
  reopen(): Promise<JobRunner> {
    return JobRunner.open({ kvs: this.kvs })
  }

  submit(command: readonly string[], more?: Partial<Submission>): Promise<JobView> {
    return this.runner.submit({ command, cwd: '/', env, ...more })
  }

  shell(script: string, more?: Partial<Submission>): Promise<JobView> {
    return this.submit(['sh', '-c', script], more)
  }

  async run(command: readonly string[], more?: Partial<Submission>): Promise<JobView> {
    return this.runner.wait((await this.submit(command, more)).id)
  }

  runShell(script: string, more?: Partial<Submission>): Promise<JobView> {
    return this.run(['sh', '-c', script], more)
  }

  async bytes(id: string, stream: Stream = 'stdout'): Promise<Buffer> {
    return Buffer.concat(await collect(readStream(this.kvs, id, stream)))
  }

  async text(id: string, stream: Stream = 'stdout'): Promise<string> {
    return (await this.bytes(id, stream)).toString()
  }

  events(id: string): Promise<Event[]> {
    return collect(readEvents(this.kvs, eventsKey(id), scope))
  }

  async names(id: string): Promise<string[]> {
    return (await this.events(id)).map((event) => event.name)
  }

  async output(id: string): Promise<OutputEvent[]> {
    const reading = await this.kvs.read(outputKey(id), scope)
    return reading ? (await collect(reading.chunks)).flatMap(decodeOutput) : []
  }

  /** Resolves when the stream has begun with this text. */
  async shows(id: string, text: string, stream: Stream = 'stdout'): Promise<void> {
    let seen = ''
    for await (const chunk of readStream(this.kvs, id, stream, { follow: true })) {
      seen += Buffer.from(chunk).toString()
      if (seen.length >= text.length) break
    }
    if (!seen.startsWith(text)) throw new Error(`${JSON.stringify(seen)} instead of ${text}`)
  }

  /** Whether both logs are sealed and the job has left `active`. */
  async isClosed(id: string): Promise<boolean> {
    const output = await this.kvs.stat(outputKey(id), scope)
    const events = await this.kvs.stat(eventsKey(id), scope)
    const active = await this.kvs.stat(`active/${id}`, scope)
    return output?.sealed === true && events?.sealed === true && active === undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runner[Symbol.asyncDispose]()
    await this.store[Symbol.asyncDispose]()
  }
}

export async function collect<T>(items: AsyncIterable<T> | Iterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

export async function codeOf(act: Promise<unknown>): Promise<unknown> {
  try {
    await act
  } catch (error) {
    return error instanceof Error && 'code' in error ? error.code : error
  }
  return 'none'
}
