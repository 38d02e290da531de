/** Removes finished jobs: one by its id, all that are older than an age, and those that the
 *  retention of the namespace does not keep. See rfc/11, rules 16 to 19.
 *  Invariant: a job that waits or runs is never removed. Nothing polls. */

import { setImmediate } from 'node:timers/promises'
import { type JobView, jobsPageMax, type Pruned, type PruneOptions } from '../api/job.js'
import { jobsNamespace } from '../api/namespace.js'
import type { Environment } from '../base/environment.js'
import { TailraceError } from '../error.js'
import { isJobId, submitTimeOf } from './ids.js'
import { activeDirectory, activeKey, indexKey, type JobKvs, outputKey } from './keys.js'
import { jobDirectories, jobTotals, listSizeMax, noJob, readView, viewSizeOf } from './records.js'

/** The number of jobs that retention looks at in one turn of the event loop, and removes in one
 *  commit. */
const retentionStep = 64

type RemovalPorts = {
  readonly kvs: JobKvs
  readonly environment: Environment
  /** Returns true if the job waits or runs in this process, or if its finish could not be
   *  stored. */
  readonly isOpen: (id: string) => boolean
  /** Returns the view to show for a stored view: a job that nobody runs and that has no finish is
   *  lost. */
  readonly settled: (view: JobView) => JobView
}

export class Removal implements AsyncDisposable {
  readonly #ports: RemovalPorts
  /** The timer for the next job that becomes old enough. */
  #timer: Disposable | undefined
  #applying: Promise<void> | undefined
  #again = false
  #over = false

  constructor(ports: RemovalPorts) {
    this.#ports = ports
  }

  /** Removes a job, or only its output, out of pins too. REQUIRES: the job does not wait or run.
   *  Throws ENOENT. */
  async remove(id: string, { output = false }: { readonly output?: boolean }): Promise<void> {
    const { kvs } = this.#ports
    const scope = { namespace: jobsNamespace }
    if (!isJobId(id) || !(await kvs.stat(id, scope))) throw noJob(id)
    if (output && !(await kvs.stat(outputKey(id), scope))) {
      throw new TailraceError('ENOENT', `the job ${id} has no output any more`)
    }
    await kvs.discard(output ? [outputKey(id)] : keysOf(id), { pins: true })
  }

  /** Removes jobs that finished long ago; see `Jobs.prune`. Throws EINVAL. */
  async prune(options: PruneOptions): Promise<Pruned> {
    const { olderThanMs, dryRun = false, after, signal } = options
    if (!Number.isSafeInteger(olderThanMs) || olderThanMs < 0) {
      throw new TailraceError('EINVAL', 'olderThanMs is a whole number of ms, 0 or more')
    }
    if (after !== undefined && !isJobId(after)) {
      throw new TailraceError('EINVAL', `after: ${JSON.stringify(after)} is not the id of a job`)
    }
    const until = this.#ports.environment.now() - olderThanMs
    const page = await jobDirectories(this.#ports.kvs, { after, limit: jobsPageMax })
    const old: JobView[] = []
    let size = 0
    let last = after
    let more = page.more
    for (const { id } of page.jobs) {
      signal?.throwIfAborted()
      // This job and all later ones were submitted, and so finished, after that time.
      if (submitTimeOf(id) > until) {
        more = false
        break
      }
      const view = await this.#ended(id)
      if (view?.finished !== undefined && view.finished <= until) {
        size += viewSizeOf(view)
        if (size > listSizeMax && old.length > 0) {
          more = true
          break
        }
        old.push(view)
      }
      last = id
    }
    const keys = old.flatMap(({ id }) => keysOf(id))
    if (!dryRun && keys.length > 0) await this.#ports.kvs.discard(keys, { pins: true })
    return { jobs: old, ...(more && last !== undefined ? { next: last } : {}) }
  }

  /** Applies the retention in the background. Call it when a job has finished or the settings have
   *  changed. */
  kick(): void {
    if (this.#over) return
    this.#again = true
    this.#applying ??= this.#applyAll()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true
    this.#timer?.[Symbol.dispose]()
    await this.#applying
    this.#timer?.[Symbol.dispose]()
  }

  async #applyAll(): Promise<void> {
    while (this.#again && !this.#over) {
      this.#again = false
      // Jobs that cannot be removed now (no space) are removed after a later finish.
      await this.#apply().catch(() => {})
    }
    this.#applying = undefined
  }

  async #apply(): Promise<void> {
    const { kvs, environment } = this.#ports
    const { keepJobs, keepJobsSize, keepJobsAgeMs } = await kvs.settings()
    this.#timer?.[Symbol.dispose]()
    const max = { count: keepJobs ?? Infinity, size: keepJobsSize ?? Infinity }
    const ageMs = keepJobsAgeMs ?? Infinity
    if (Math.min(max.count, max.size, ageMs) === Infinity) return
    const now = environment.now()
    const left = await this.#totals()
    let due = Infinity
    for (let after: string | undefined; ; ) {
      const page = await jobDirectories(kvs, { after, limit: retentionStep })
      const going: string[] = []
      let rest = page.more
      for (const { id, size } of page.jobs) {
        const surplus = left.count > max.count || left.size > max.size
        // A job finishes after its submit, and all further jobs were submitted later: none is old
        // enough.
        const young = !surplus && submitTimeOf(id) + ageMs > now
        if (young) due = Math.min(due, submitTimeOf(id) + ageMs)
        if (young || left.count <= 0) {
          rest = false
          break
        }
        const view = await this.#ended(id)
        if (!view) continue
        const goesAt = (view.finished ?? now) + ageMs
        left.count--
        if (surplus || goesAt <= now) {
          going.push(id)
          left.size -= size + viewSizeOf(view)
        } else due = Math.min(due, goesAt)
      }
      if (going.length > 0) await kvs.discard(going.flatMap(keysOf), { pins: false })
      if (!rest || this.#over) break
      after = page.jobs.at(-1)?.id
      await setImmediate()
    }
    if (due < Infinity && !this.#over) {
      this.#timer = environment.timer(Math.max(1, due - environment.now()), () => this.kick())
    }
  }

  /** Returns the number of finished jobs, and the size of all jobs in bytes. */
  async #totals(): Promise<{ count: number; size: number }> {
    const { kvs } = this.#ports
    const [{ total, size }, active] = await Promise.all([
      jobTotals(kvs),
      kvs.stat(activeDirectory, { namespace: jobsNamespace }),
    ])
    return { count: total - (active?.count ?? 0), size }
  }

  /** Returns the view of a job that has ended. Returns undefined if it waits or runs, or was
   *  removed. */
  async #ended(id: string): Promise<JobView | undefined> {
    if (this.#ports.isOpen(id)) return undefined
    const stored = await readView(this.#ports.kvs, id)
    return stored && this.#ports.settled(stored)
  }
}

/** Returns all keys of a job. The one in `active` is there if a crash left the job without a
 *  finish. */
function keysOf(id: string): string[] {
  return [id, activeKey(id), indexKey(id)]
}
