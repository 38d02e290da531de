/** A write or a sync of the store that fails, at any of its calls: the error is clear, reads go on and are
 *  right, nothing is written any more until the store is opened again, which is said; and no disk that the
 *  power could leave lacks what was acknowledged or seen. See rfc/4, rfc/16. */

import type { DiskCall } from './strace.js'
import { tryWriteOrder, type WriteOrderFindings } from './write-order.js'

/** What fails, as strace says it; `when` counts the calls of each thread. */
export type Fault = {
  readonly name: string
  /** Another fault that comes with it. */
  readonly beside?: string
  /** Of 1: steps that are collections (see crash-workload.ts). */
  readonly collects?: number
  /** True if there is no store before; otherwise one is opened. */
  readonly fresh?: boolean
  /** Calls that the workload makes at least, on the thread that commits. */
  readonly callsMin: number
}

/** Those of the calls that every commit makes. */
const ordinary: readonly string[] = [
  'pwritev:error=EIO', // a record of the journal
  'pwrite64:error=EIO', // the header of a segment, and pages of the tables
  'writev:error=EIO', // pages of the tables
  'fdatasync:error=EIO', // the tables
  'fsync:error=EIO', // a directory, and the journal after a cut
  'pwritev:error=ENOSPC',
  'pwrite64:error=ENOSPC',
  'writev:error=ENOSPC',
  'fdatasync:error=ENOSPC',
  'fsync:error=ENOSPC',
]

export const faults: readonly Fault[] = [
  ...ordinary.map((name) => ({ name, callsMin: 6 })),
  // The files of a new store.
  ...['pwrite64:error=EIO', 'pwrite64:error=ENOSPC', 'fdatasync:error=EIO', 'fsync:error=EIO'].map(
    (name) => ({ name, fresh: true, callsMin: 1 }),
  ),
  // A hole that a collection makes; without holes it moves what is in use.
  { name: 'fallocate:error=EIO', collects: 0.4, callsMin: 1 },
  { name: 'fallocate:error=ENOSPC', collects: 0.4, callsMin: 1 },
  { name: 'fallocate:error=EOPNOTSUPP', collects: 0.4, callsMin: 1 },
  // A segment that is removed, with and without the holes that make that rare; and files of the open.
  { name: 'unlink:error=EIO', collects: 0.4, callsMin: 2 },
  {
    ...{ name: 'unlink:error=EIO', beside: 'fallocate:error=EOPNOTSUPP:when=1+' },
    ...{ collects: 0.4, callsMin: 2 },
  },
  // The cut of a record that met a full disk.
  { name: 'ftruncate:error=EIO', beside: 'pwritev:error=ENOSPC:when=3+', callsMin: 2 },
]

/** The first call of a kind that may fail: Node syncs its own output twice as it ends, on another thread, and does
 *  not end where that fails. The first files that are removed and cut are a probe and the lock of the owner. */
export function firstCallOf(call: string): number {
  if (call.startsWith('fsync')) return 3
  return call.startsWith('unlink') || call.startsWith('ftruncate') ? 2 : 1
}

const stepsOfFault = 8
const stepsOfCollections = 24

export type FaultFindings = {
  readonly problems: readonly string[]
  /** Did the fault come while the workload ran? Not if there were fewer calls. */
  readonly came: boolean
}

export async function tryFault(
  { name, beside, collects, fresh = false }: Fault,
  when: number | string,
  seed: number,
): Promise<FaultFindings> {
  const { problems, traced } = await tryWriteOrder({
    seed,
    ...{ underWay: 1, samples: 1, fresh },
    // More steps make more moments, of which fewer are tried.
    ...(collects === undefined
      ? { steps: stepsOfFault, share: 0.4 }
      : { steps: stepsOfCollections, share: 0.04, collects }),
    inject: [`${name}:when=${when}`, ...(beside === undefined ? [] : [beside])],
  })
  const came = cameTo(name, traced)
  return { problems: [...problems, ...saidWrong(traced, came || beside !== undefined)], came }
}

/** True if a call of the kind that a fault names has failed, before the store was closed and opened again. */
function cameTo(fault: string, { calls: all }: WriteOrderFindings['traced']): boolean {
  const closed = all.findIndex((call) => call.type === 'told' && call.text.trim() === 'closed')
  const calls = closed < 0 ? all : all.slice(0, closed)
  const failed = new Set(calls.flatMap((call) => ('ok' in call && !call.ok ? [call.id] : [])))
  const [call = ''] = fault.split(':')
  const type = typeOfCall.get(call)
  return type === undefined
    ? failed.size > 0
    : calls.some((each) => 'id' in each && each.type === type && failed.has(each.id))
}

const typeOfCall: ReadonlyMap<string, DiskCall['type']> = new Map([
  ['fallocate', 'punch'],
  ['unlink', 'unlink'],
  ['ftruncate', 'truncate'],
])

function saidWrong({ calls, code, stderr }: WriteOrderFindings['traced'], came: boolean): string[] {
  const told = calls.flatMap((call) => (call.type === 'told' ? [call.text.trim()] : []))
  const refused = told.find((line) => line.startsWith('refused'))
  if (refused !== undefined) {
    return came && isClear(refused) && code === 0 ? [] : [`said: ${refused}`]
  }
  const failed = told.filter((line) => line.startsWith('failed'))
  const problems: string[] = []
  if (code !== 0) problems.push(`the child ended with ${code}: ${stderr}`)
  if (!told.includes('closed')) problems.push('the store did not close')
  // The fault may last, or come on another thread besides, and the first write to meet it is of this opening.
  const again = told.find((line) => line.startsWith('again')) ?? 'again nothing'
  if (!/^again (done$|EUNKNOWN )/.test(again) && !isClear(again)) problems.push(`said: ${again}`)
  if (!came && failed.length > 0) problems.push(`without a fault: ${failed.join()}`)
  if (failed.length === 0) return problems // it came at the close, or nobody had to be told
  problems.push(
    ...wrongIn([...failed, told.find((line) => line.startsWith('after')) ?? 'nothing after']),
  )
  if (!told.includes('reads right')) {
    problems.push(told.find((line) => line.startsWith('reads')) ?? 'nothing was read')
  }
  const watch = told.find((line) => line.startsWith('watch'))
  return watch === undefined ? problems : [...problems, watch]
}

/** True if a line tells clearly that a store does not open, or is not written to. */
function isClear(line: string): boolean {
  return (
    /^\w+ (EIO cannot open .*: check the directory and the disk|ENOSPC no space left .*)$/.test(
      line,
    ) || line.includes('read-only until it is opened again')
  )
}

/** A full disk is said as often as it is met; another failure breaks the store, which is said from then on. */
function wrongIn(lines: readonly string[]): string[] {
  const problems: string[] = []
  let broken = false
  for (const line of lines) {
    // The fault may have met the making of the namespace that a later step writes to.
    if (/^failed \d+ ENONS there is no namespace n\d+$/.test(line)) continue
    // A collection whose file stays frees the rest at the next one.
    if (!broken && /^failed \d+ EIO .* could not be (removed|made durable) \(.*\): /.test(line))
      continue
    if (!broken && (line === 'after done' || line.includes('no space left in'))) continue
    const unknown = !broken && /^(failed \d+ EUNKNOWN |after TailraceError \[EUNKNOWN\])/.test(line)
    if (!unknown && !line.includes('read-only until it is opened again'))
      problems.push(`said: ${line}`)
    broken = true
  }
  return problems
}
