/** Ends jobs that an earlier server left without a finish when it crashed. See rfc/11, rule 14.
 *  Invariant: only jobs without a finish are read. A surviving process is killed only if its pid
 *  and start time are the recorded ones, or if its environment names the job and this store. So a
 *  copy of a store leaves the processes of its original alone. */

import { idVariable, type JobView, storeVariable } from '../api/job.js'
import type { Kvs } from '../api/kvs.js'
import { jobsNamespace } from '../api/namespace.js'
import type { Environment } from '../base/environment.js'
import { killFound, processes, processStart, variablesOf } from '../base/processes.js'
import { activeKey, eventsKey } from './keys.js'
import { activeIds, cutOutputOps, finishOps, readJob } from './records.js'
import { fold, type JobEvent } from './state.js'

/** The number of jobs that are ended at the same time. */
const recoveriesMax = 64

/** Ends all jobs without a finish as lost. A job that cannot be ended now (no space, a blob that
 *  does not verify) stays for the next open: it must not keep the store from opening. */
export async function recover(
  kvs: Kvs,
  environment: Environment,
  incarnation: string,
): Promise<void> {
  const ids = await activeIds(kvs)
  if (ids.length > 0) killMarked(new Set(ids), incarnation)
  const next = ids.values()
  const work = async () => {
    for (const id of next) await endLost(kvs, environment, { id, incarnation }).catch(() => {})
  }
  await Promise.all(Array.from({ length: Math.min(recoveriesMax, ids.length) }, work))
}

/** Returns the view of a job that has no finish and that no server runs: it is lost. */
export function lostView(view: JobView, at: number): JobView {
  return lostEvents(at).reduce(fold, view)
}

function lostEvents(at: number): JobEvent[] {
  const message = 'the server stopped while the job ran'
  return [
    { name: 'exception', at, type: 'lost', message, severity: 0 },
    { name: 'finish', at },
  ]
}

async function endLost(
  kvs: Kvs,
  environment: Environment,
  { id, incarnation }: { readonly id: string; readonly incarnation: string },
): Promise<void> {
  const { view, events } = await readJob(kvs, id)
  const runBy = await kvs.get(activeKey(id), { namespace: jobsNamespace })
  // Older versions did not record the store that runs the job: the value is then empty.
  const ours = !runBy?.length || Buffer.from(runBy).toString() === incarnation
  if (ours) killSurvivor(events)
  const at = environment.now()
  const key = eventsKey(id)
  const stat = await kvs.stat(key, { namespace: jobsNamespace })
  const output = await cutOutputOps(kvs, id, at, 'lost')
  const ops = finishOps({ id, events: lostEvents(at), view: lostView(view, at), output })
  const guards = [{ key, count: stat?.count ?? 0 }]
  await kvs.commit({ guards, ops }, { namespace: jobsNamespace })
}

/** Kills all processes whose environment names one of these jobs and this store, whatever their
 *  group. */
function killMarked(ids: ReadonlySet<string>, incarnation: string): void {
  const prefix = `${idVariable}=`
  killFound(() => {
    return processes().flatMap(({ pid, defunct }) => {
      if (defunct || pid === process.pid) return []
      const variables = variablesOf(pid)
      if (!variables.includes(`${storeVariable}=${incarnation}`)) return []
      const id = variables.find((variable) => variable.startsWith(prefix))?.slice(prefix.length)
      return id !== undefined && ids.has(id) ? [pid] : []
    })
  })
}

function killSurvivor(events: readonly JobEvent[]): void {
  for (const event of events) {
    if (event.name !== 'start' || event.startTime === undefined) continue
    if (processStart(event.pid) !== event.startTime) continue
    try {
      process.kill(-event.pgid, 'SIGKILL')
    } catch {
      // It has ended since.
    }
  }
}
