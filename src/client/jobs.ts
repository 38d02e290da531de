/** Jobs over HTTP. See rfc/11, rfc/12.
 *  Invariant: a `wait` ends when the job does, also when the connection is lost meanwhile. */

import type { Event } from '../api/event.js'
import type {
  JobEventsOptions,
  JobOutput,
  JobOutputOptions,
  JobPage,
  Jobs,
  JobView,
  ListJobsOptions,
  Pruned,
  PruneOptions,
  RemoveJobOptions,
  Submission,
} from '../api/job.js'
import type { Kvs } from '../api/kvs.js'
import type { TerminalSize } from '../base/posix.js'
import { bytesOf } from '../base/shape.js'
import { checkJobs } from '../job/checks.js'
import { jobEvents, jobOutput } from '../job/reading.js'
import { parseJobPage, parseJobView, parsePruned } from '../wire/answers.js'
import type { Http } from './http.js'
import { componentOf, pathOf } from './path.js'

export class RemoteJobs implements Jobs {
  readonly #http: Http
  readonly #kvs: Kvs

  constructor(http: Http, kvs: Kvs) {
    this.#http = http
    this.#kvs = kvs
  }

  output(id: string, options?: JobOutputOptions): AsyncGenerator<JobOutput, void, undefined> {
    return jobOutput(this.#kvs, (...asked) => this.show(...asked), id, options)
  }

  events(id: string, options?: JobEventsOptions): AsyncGenerator<Event, void, undefined> {
    return jobEvents(this.#kvs, (...asked) => this.show(...asked), id, options)
  }

  async submit(submission: Submission, signal?: AbortSignal): Promise<JobView> {
    checkJobs.submit(signal)
    return this.#http.writeJson(pathOf('jobs'), submission, { signal }, parseJobView)
  }

  async list(options: ListJobsOptions = {}): Promise<JobPage> {
    checkJobs.list(options)
    const { states, signal, ...asked } = options
    const path = pathOf('jobs', { ...asked, state: states?.join(',') })
    return this.#http.readJson(path, { signal }, parseJobPage)
  }

  async show(id: string, signal?: AbortSignal): Promise<JobView> {
    checkJobs.one(id, signal)
    return this.#http.readJson(pathOfJob(id), { signal }, parseJobView)
  }

  async wait(id: string, signal?: AbortSignal): Promise<JobView> {
    checkJobs.one(id, signal)
    const asking = { signal, patience: 'answer' as const }
    return this.#http.readJson(`${pathOfJob(id)}?wait=true`, asking, parseJobView)
  }

  async signal(id: string, name: string): Promise<void> {
    checkJobs.signal(id, name)
    await this.#http.writeJson(`${pathOfJob(id)}/signal`, { signal: name }, {}, () => undefined)
  }

  async resize(id: string, size: TerminalSize): Promise<void> {
    await this.#http.writeJson(`${pathOfJob(id)}/resize`, size, {}, () => undefined)
  }

  async stdin(id: string, chunks: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<void> {
    checkJobs.stdin(id, chunks, signal)
    const headers = { 'content-type': 'application/octet-stream' }
    const path = `${pathOfJob(id)}/stdin`
    const body = bytesOf(chunks)
    await this.#http.write(
      { method: 'POST', path, headers, body, signal, long: true, patience: 'all' },
      () => undefined,
    )
  }

  async remove(id: string, options: RemoveJobOptions = {}): Promise<void> {
    checkJobs.remove(id, options)
    const { output = false, signal } = options
    const path = output ? `${pathOfJob(id)}/output` : pathOfJob(id)
    await this.#http.write({ method: 'DELETE', path, signal }, () => undefined)
  }

  async prune(options: PruneOptions): Promise<Pruned> {
    checkJobs.prune(options)
    const { olderThanMs, dryRun, after, signal } = options
    const path = pathOf('jobs', { olderThan: olderThanMs, dryRun, after })
    return this.#http.write({ method: 'DELETE', path, signal }, parsePruned)
  }
}

function pathOfJob(id: string): string {
  return pathOf(`jobs/${componentOf(id)}`)
}
