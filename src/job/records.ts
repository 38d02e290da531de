/** The records of jobs in the namespace `jobs`: the ops that write each step, and the reads of
 *  views. See rfc/11.
 *  Invariant: the finish of a job, the seals of its output and its events, and the removal from
 *  `active` are one transaction. */

import type { Event } from '../api/event.js'
import {
  type JobFilter,
  type JobPage,
  type JobView,
  jobFilters,
  jobsPageMax,
  type ListJobsOptions,
  type Spec,
} from '../api/job.js'
import type { Kvs } from '../api/kvs.js'
import { jobsNamespace } from '../api/namespace.js'
import type { Op } from '../api/transaction.js'
import { isCode, TailraceError } from '../error.js'
import { appendOps, decodeEvents } from '../eventlog/eventlog.js'
import { endOfOutput } from '../eventlog/read-stream.js'
import { encodeEofs, encodeHeader, type Offsets, type Stream } from '../eventlog/stdio.js'
import { isJobId, mirrored } from './ids.js'
import {
  activeDirectory,
  activeKey,
  eventsKey,
  indexDirectory,
  indexKey,
  outputKey,
  specKey,
} from './keys.js'
import { decodeSpec, encodeSpec } from './spec.js'
import { eventOf, exitCodeOf, fold, type JobEvent, jobEventOf, submitted } from './state.js'

/** The number of jobs on a page whose limit was left out. */
const listDefault = 100
/** The size of the views on one page, in bytes, above which the page ends early. */
export const listSizeMax = 4 * 1024 * 1024
/** The number of views that are read at once while a page is made. Most are small, but one may have
 *  `specSizeMax`. */
const listStep = 16

const scope = { namespace: jobsNamespace }

/** Makes the ops that store a new job: its spec, its first event, the header of its output, and its
 *  names in `active` and `index`. `store` is the incarnation of the namespace `jobs`, which tells
 *  the store that runs the job from copies of that store. */
export function submitOps(id: string, spec: Spec, at: number, store: string): Op[] {
  return [
    { op: 'put', key: specKey(id), value: encodeSpec(spec), contentType: 'application/json' },
    ...appendOps(eventsKey(id), [eventOf({ name: 'submit', at })], false),
    { op: 'append', key: outputKey(id), value: encodeHeader(at / 1000) },
    { op: 'put', key: activeKey(id), value: store },
    { op: 'put', key: indexKey(id), value: '' },
  ]
}

type Finish = {
  readonly id: string
  /** The events to append; the last one is the finish. */
  readonly events: readonly JobEvent[]
  /** The view after these events. */
  readonly view: JobView
  /** The ops that seal the output. */
  readonly output: readonly Op[]
}

/** Makes the ops that store the finish of a job. */
export function finishOps({ id, events, view, output }: Finish): Op[] {
  return [
    ...output,
    ...appendOps(eventsKey(id), events.map(eventOf), true),
    { op: 'unlink', key: activeKey(id) },
    { op: 'put', key: indexKey(id), value: JSON.stringify(view), contentType: 'application/json' },
  ]
}

/** Makes the last appends of an output: its rest, the ends of both streams, and the seal. */
export function sealOutputOps(
  id: string,
  end: {
    readonly at: number
    readonly rest?: Uint8Array | undefined
    readonly offsets: Offsets
    readonly reasons?: { readonly [stream in Stream]?: string }
  },
): Op[] {
  const key = outputKey(id)
  const eofs = encodeEofs(end.at / 1000, end.offsets, end.reasons)
  const rest: Op[] = end.rest ? [{ op: 'append', key, value: end.rest }] : []
  return [...rest, { op: 'append', key, value: eofs, seal: true }]
}

/** Makes the ops that seal an output whose writer is gone. It ends after the bytes in the store,
 *  and both streams get the reason. Returns none if the output is sealed. */
export async function cutOutputOps(
  kvs: Kvs,
  id: string,
  at: number,
  reason: string,
): Promise<Op[]> {
  const key = outputKey(id)
  const stat = await kvs.stat(key, scope)
  if (stat?.sealed) return []
  const offsets = await endOfOutput(kvs, key, stat?.count ?? 0, scope)
  return sealOutputOps(id, { at, offsets, reasons: { stdout: reason, stderr: reason } })
}

/** Reads a job: its events, and the view that they fold to. Throws ENOENT, ECORRUPT. */
export async function readJob(
  kvs: Kvs,
  id: string,
): Promise<{ readonly view: JobView; readonly events: readonly JobEvent[] }> {
  const [spec, log] = isJobId(id)
    ? await Promise.all([kvs.get(specKey(id), scope), kvs.get(eventsKey(id), scope)])
    : []
  if (!spec || !log) throw noJob(id)
  const events = eventsOf(id, log)
    .map(jobEventOf)
    .filter((event) => event !== undefined)
  const view = events.reduce(fold, submitted(id, decodeSpec(spec), 0))
  return { view, events }
}

/** Decodes the events of a job. Only the runner writes them, so anything else is damage. Throws
 *  ECORRUPT. */
function eventsOf(id: string, log: Uint8Array): readonly Event[] {
  try {
    return decodeEvents(log)
  } catch (cause) {
    throw new TailraceError('ECORRUPT', `the events of job ${id} cannot be read`, { cause })
  }
}

/** Reads the stored view of a job, or makes it from the events. Returns undefined if there is no
 *  such job. Throws ECORRUPT. */
export async function readView(kvs: Kvs, id: string): Promise<JobView | undefined> {
  const stored = await kvs.get(indexKey(id), scope)
  if (stored && stored.length > 0) return decodeView(stored)
  try {
    return (await readJob(kvs, id)).view
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
  }
}

/** Returns the size of a view in the store, in bytes. */
export function viewSizeOf(view: JobView): number {
  return Buffer.byteLength(JSON.stringify(view))
}

/** Makes the ENOENT of a job that is not there. */
export function noJob(id: string): TailraceError {
  return new TailraceError('ENOENT', `there is no job ${JSON.stringify(id)}`)
}

/** Lists the ids of jobs, oldest first, each with the size of its spec, events and output in
 *  bytes. */
export async function jobDirectories(
  kvs: Kvs,
  {
    after = activeDirectory,
    limit,
  }: { readonly after?: string | undefined; readonly limit: number },
): Promise<{ readonly jobs: readonly { id: string; size: number }[]; readonly more: boolean }> {
  // Ids begin with `f`, so they stand between `active` and `index`.
  const { entries, more } = await kvs.list('', { ...scope, after, limit })
  const jobs = entries
    .filter(({ name }) => isJobId(name))
    .map(({ name, size }) => ({ id: name, size }))
  return { jobs, more: more && jobs.length === entries.length }
}

/** Lists the ids of all jobs without a finish, oldest first. */
export async function activeIds(kvs: Kvs): Promise<string[]> {
  const ids: string[] = []
  for (let after: string | undefined; ; ) {
    const page = await listNames(kvs, activeDirectory, after === undefined ? {} : { after })
    ids.push(...page.names)
    if (!page.more) return ids
    after = page.names.at(-1)
  }
}

/** Returns the newest id in the store. Returns undefined if there is no job. */
export async function newestId(kvs: Kvs): Promise<string | undefined> {
  const { names } = await listNames(kvs, indexDirectory, { limit: 1 })
  return names[0] === undefined ? undefined : mirrored(names[0])
}

/** The views that this process knows, newer than those in the store. */
type KnownJobs = {
  /** Returns the jobs that have not finished, in the order of their submits. */
  readonly live: () => readonly JobView[]
  /** Returns the view of a job. It is called first without the stored view; if it returns
   *  undefined, again with it. */
  readonly view: (id: string, stored?: JobView) => JobView | undefined
}

/** Lists jobs, newest first; see `Jobs.list`. Throws EINVAL. */
export async function listJobs(
  kvs: Kvs,
  options: ListJobsOptions,
  known: KnownJobs,
): Promise<JobPage> {
  const { after, limit = listDefault, states, name, signal } = options
  if (!Number.isSafeInteger(limit) || limit < 1 || limit > jobsPageMax) {
    throw new TailraceError('EINVAL', `the limit of a page is 1 to ${jobsPageMax} jobs`)
  }
  if (after !== undefined && !isJobId(after)) {
    throw new TailraceError('EINVAL', `after: ${JSON.stringify(after)} is not the id of a job`)
  }
  checkStates(states)
  const matches = (view: JobView) => {
    if (name !== undefined && view.name !== name) return false
    return !states || states.some((state) => isOf(view, state))
  }
  const all = await jobTotals(kvs)
  if (states?.every((state) => state === 'submitted' || state === 'running')) {
    const open = known.live().filter((view) => matches(view) && (!after || view.id < after))
    return { ...pageOf(open.reverse(), limit), ...all }
  }
  const sought = states !== undefined || name !== undefined
  const page = await listNames(kvs, indexDirectory, {
    limit: sought ? jobsPageMax : limit,
    ...(after === undefined ? {} : { after: mirrored(after) }),
  })
  const jobs: JobView[] = []
  let size = 0
  let next: string | undefined
  for (let at = 0; at < page.names.length; at += listStep) {
    signal?.throwIfAborted()
    const names = page.names.slice(at, at + listStep)
    const values = await Promise.all(
      names.map((each) => kvs.get(`${indexDirectory}/${each}`, scope)),
    )
    for (const [index, mirror] of names.entries()) {
      const id = mirrored(mirror)
      const stored = values[index]
      size += stored?.length ?? 0
      if (size > listSizeMax && next !== undefined) return { jobs, more: true, next, ...all }
      const view = known.view(id) ?? (await stillThere(kvs, id, stored, known.view))
      if (view && matches(view)) {
        if (jobs.length === limit && next !== undefined) return { jobs, more: true, next, ...all }
        jobs.push(view)
      }
      next = id
    }
  }
  return { jobs, more: page.more, ...(page.more && next !== undefined && { next }), ...all }
}

function checkStates(states: readonly string[] | undefined): void {
  const known: readonly string[] = jobFilters
  if (!states || (states.length > 0 && states.every((state) => known.includes(state)))) return
  throw new TailraceError('EINVAL', `the states of jobs are ${jobFilters.join(', ')}`)
}

function isOf(view: JobView, filter: JobFilter): boolean {
  if (filter !== 'failed') return view.state === filter
  return view.state === 'lost' || (view.state === 'finished' && exitCodeOf(view) !== 0)
}

/** Makes a page of views that are in memory, newest first. */
function pageOf(views: readonly JobView[], max: number): Pick<JobPage, 'jobs' | 'more' | 'next'> {
  let size = 0
  let count = 0
  for (const view of views) {
    size += viewSizeOf(view)
    if (count === max || (size > listSizeMax && count > 0)) break
    count++
  }
  const jobs = views.slice(0, count)
  const last = jobs.at(-1)
  return count < views.length && last ? { jobs, more: true, next: last.id } : { jobs, more: false }
}

/** Returns the number of jobs, and the size of all values of the namespace `jobs` in bytes. */
export async function jobTotals(kvs: Kvs): Promise<{ total: number; size: number }> {
  const [all, index] = await Promise.all([kvs.stat('', scope), kvs.stat(indexDirectory, scope)])
  return { total: index?.count ?? 0, size: all?.size ?? 0 }
}

/** Returns the view of a listed job. Returns undefined if the job was removed since it was
 *  listed. */
async function stillThere(
  kvs: Kvs,
  id: string,
  stored: Uint8Array | undefined,
  view: (id: string, stored: JobView) => JobView | undefined,
): Promise<JobView | undefined> {
  const read = stored && stored.length > 0 ? decodeView(stored) : await readView(kvs, id)
  return read && view(id, read)
}

function decodeView(stored: Uint8Array): JobView {
  // Only `finishOps` writes it: the namespace is reserved.
  return JSON.parse(new TextDecoder().decode(stored)) as JobView
}

async function listNames(
  kvs: Kvs,
  directory: string,
  page: { readonly after?: string; readonly limit?: number },
): Promise<{ readonly names: readonly string[]; readonly more: boolean }> {
  try {
    const { entries, more } = await kvs.list(directory, { ...scope, ...page })
    return { names: entries.map((entry) => entry.name), more }
  } catch (error) {
    // No job was submitted yet.
    if (isCode(error, 'ENOENT')) return { names: [], more: false }
    throw error
  }
}
