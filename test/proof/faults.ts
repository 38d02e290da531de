/** A write or a sync of the store that fails, at any of its calls: the error is clear, reads go on and are
 *  right, nothing is written any more until the store is opened again, which is said; and no disk that the
 *  power could leave lacks what was acknowledged or seen. See rfc/4, rfc/16. */

import { tryWriteOrder, type WriteOrderFindings } from './write-order.js'

/** What fails, as strace says it; `when` counts the calls of each thread. */
export const faults: readonly string[] = [
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

/** Calls of each kind that the workload makes at least, on the thread that commits. */
export const faultCallsMin = 6

/** The first call of a kind that may fail: Node syncs its own output twice as it ends, on another thread, and does
 *  not end where that fails. */
export function firstCallOf(fault: string): number {
  return fault.startsWith('fsync') ? 3 : 1
}

const stepsOfFault = 8

export type FaultFindings = {
  readonly problems: readonly string[]
  /** Did the fault come? Not if there were fewer calls. */
  readonly came: boolean
}

export async function tryFault(
  fault: string,
  when: number | string,
  seed: number,
): Promise<FaultFindings> {
  const { problems, traced } = await tryWriteOrder({
    seed,
    steps: stepsOfFault,
    underWay: 1,
    samples: 1,
    share: 0.4,
    inject: [`${fault}:when=${when}`],
  })
  const came = traced.calls.some((call) => 'ok' in call && !call.ok)
  return { problems: [...problems, ...saidWrong(traced, came)], came }
}

function saidWrong({ calls, code, stderr }: WriteOrderFindings['traced'], came: boolean): string[] {
  const told = calls.flatMap((call) => (call.type === 'told' ? [call.text.trim()] : []))
  const refused = told.find((line) => line.startsWith('refused'))
  if (refused !== undefined) {
    const clear =
      /^refused (EIO cannot open .*: check the directory and the disk|ENOSPC no space left to open .*)$/
    const atOpen = clear.test(refused) || refused.includes('read-only until it is opened again')
    return came && atOpen && code === 0 ? [] : [`said: ${refused}`]
  }
  const failed = told.filter((line) => line.startsWith('failed'))
  const problems: string[] = []
  if (code !== 0) problems.push(`the child ended with ${code}: ${stderr}`)
  if (!told.includes('closed')) problems.push('the store did not close')
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

/** A full disk is said as often as it is met; another failure breaks the store, which is said from then on. */
function wrongIn(lines: readonly string[]): string[] {
  const problems: string[] = []
  let broken = false
  for (const line of lines) {
    // The fault may have met the making of the namespace that a later step writes to.
    if (/^failed \d+ ENONS there is no namespace n\d+$/.test(line)) continue
    if (!broken && (line === 'after done' || line.includes('no space left in'))) continue
    const unknown = !broken && /^failed \d+ EUNKNOWN /.test(line)
    if (!unknown && !line.includes('read-only until it is opened again'))
      problems.push(`said: ${line}`)
    broken = true
  }
  return problems
}
