/** Jobs, over a server. See rfc/11, rfc/12.
 *  Invariant: a `wait` goes on over lost connections until the job ends (rfc/12, rule 16). */

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
import { checkJobs, jobEvents, jobOutput } from '../job/calls.js'
import {
  jobStdin,
  listJobs,
  pruneJobs,
  removeJob,
  removeJobOutput,
  resizeJob,
  showJob,
  signalJob,
  submitJob,
} from '../wire/jobs.js'
import type { Http } from './http.js'
import type { Road } from './road.js'

export class RemoteJobs implements Jobs {
  readonly #http: Http
  readonly #road: Road
  readonly #kvs: Kvs

  constructor(http: Http, road: Road, kvs: Kvs) {
    this.#http = http
    this.#road = road
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
    return this.#road.call(submitJob, submission, signal)
  }

  async list(options: ListJobsOptions = {}): Promise<JobPage> {
    checkJobs.list(options)
    const { states, signal, ...asked } = options
    const args = states === undefined ? asked : { ...asked, state: states }
    return this.#road.call(listJobs, args, signal)
  }

  async show(id: string, signal?: AbortSignal): Promise<JobView> {
    checkJobs.one(id, signal)
    return this.#road.call(showJob, { id }, signal)
  }

  async wait(id: string, signal?: AbortSignal): Promise<JobView> {
    checkJobs.one(id, signal)
    return this.#road.call(showJob, { id, wait: true }, signal)
  }

  async signal(id: string, name: string): Promise<void> {
    checkJobs.signal(id, name)
    await this.#road.call(signalJob, { id, signal: name })
  }

  async resize(id: string, size: TerminalSize): Promise<void> {
    await this.#road.call(resizeJob, { id, ...size })
  }

  async stdin(id: string, chunks: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<void> {
    checkJobs.stdin(id, chunks, signal)
    const headers = { 'content-type': 'application/octet-stream' }
    const body = bytesOf(chunks)
    const sending = { headers, body, signal, long: true, patience: 'all' as const }
    await this.#http.upload(jobStdin, { id }, sending)
  }

  async remove(id: string, options: RemoveJobOptions = {}): Promise<void> {
    checkJobs.remove(id, options)
    const { output = false, signal } = options
    await this.#road.call(output ? removeJobOutput : removeJob, { id }, signal)
  }

  async prune(options: PruneOptions): Promise<Pruned> {
    checkJobs.prune(options)
    const { olderThanMs, signal, ...asked } = options
    return this.#road.call(pruneJobs, { olderThan: olderThanMs, ...asked }, signal)
  }
}
