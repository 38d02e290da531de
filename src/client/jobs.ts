/** Jobs over HTTP. See rfc/11, rfc/12.
 *  Invariant: a `wait` ends when the job does, also when the connection is lost meanwhile. */

import { isCode, type TailraceError } from '../error.js'
import type { JobPage, Jobs, JobView, Submission } from '../job/job.js'
import { parseJobPage, parseJobView } from '../wire/answers.js'
import { type Backoff, delayOf } from './backoff.js'
import type { Http } from './http.js'
import { componentOf, pathOf } from './path.js'
import { pause } from './timer.js'

/** A wait is asked again after this many failures in a row at most: at the default bounds, some
 *  30 seconds, which a server needs at most to come back. */
export const waitTriesMax = 14

type JobsOptions = {
  readonly reconnect: boolean
  readonly backoff: Backoff
  readonly random: () => number
}

export class RemoteJobs implements Jobs {
  readonly #http: Http
  readonly #options: JobsOptions

  constructor(http: Http, options: JobsOptions) {
    this.#http = http
    this.#options = options
  }

  async submit(submission: Submission, signal?: AbortSignal): Promise<JobView> {
    return this.#http.writeJson(pathOf('jobs'), submission, { signal }, parseJobView)
  }

  async list(
    options: {
      readonly after?: string
      readonly limit?: number
      readonly signal?: AbortSignal
    } = {},
  ): Promise<JobPage> {
    const { after, limit, signal } = options
    return this.#http.readJson(pathOf('jobs', { after, limit }), { signal }, parseJobPage)
  }

  async show(id: string, signal?: AbortSignal): Promise<JobView> {
    return this.#http.readJson(pathOfJob(id), { signal }, parseJobView)
  }

  async wait(id: string, signal?: AbortSignal): Promise<JobView> {
    const path = `${pathOfJob(id)}?wait=true`
    for (let failures = 0; ; ) {
      const started = performance.now()
      try {
        return await this.#http.readJson(path, { signal, long: true }, parseJobView)
      } catch (error) {
        if (performance.now() - started > this.#options.backoff.maxMs) failures = 0
        failures++
        if (!this.#mayAskAgain(error, failures)) throw error
      }
      await pause(delayOf(this.#options.backoff, failures, this.#options.random()), signal)
    }
  }

  async signal(id: string, name: string): Promise<void> {
    await this.#http.writeJson(`${pathOfJob(id)}/signal`, { signal: name }, {}, () => undefined)
  }

  async stdin(id: string, chunks: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<void> {
    const headers = { 'content-type': 'application/octet-stream' }
    const path = `${pathOfJob(id)}/stdin`
    await this.#http.write(
      { method: 'POST', path, headers, body: chunks, signal, long: true },
      () => undefined,
    )
  }

  #mayAskAgain(error: unknown, failures: number): error is TailraceError {
    if (!this.#options.reconnect || failures >= waitTriesMax) return false
    return isCode(error, 'ECLOSED') && this.#http.reached && !this.#http.disposed
  }
}

function pathOfJob(id: string): string {
  return pathOf(`jobs/${componentOf(id)}`)
}
