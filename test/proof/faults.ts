/** A write or a sync of the store that fails, at any of its calls: the error is clear, reads go on and are
 *  right, nothing is written any more until the store is opened again, which is said; and no disk that the
 *  power could leave lacks what was acknowledged or seen. See rfc/4, rfc/16. */

import { tryWriteOrder, type WriteOrderFindings } from './write-order.js'

/** What fails, as strace says it; `when` counts the calls of each thread. */
export const faults: readonly string[] = [
  'fdatasync:error=EIO',
  'pwrite64:error=EIO',
  'writev:error=EIO',
  'fdatasync:error=ENOSPC',
  'pwrite64:error=ENOSPC',
  'writev:error=ENOSPC',
]

/** Calls of each kind that the workload makes at least, on the thread that commits. */
export const faultCallsMin = 6

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
    const clear = /^refused EIO cannot open .*: check the directory and the disk$/.test(refused)
    const atOpen = clear || refused.includes('read-only until it is opened again')
    return came && atOpen && code === 0 ? [] : [`said: ${refused}`]
  }
  const failed = told.filter((line) => line.startsWith('failed'))
  const after = told.find((line) => line.startsWith('after'))
  const problems: string[] = []
  if (code !== 0) problems.push(`the child ended with ${code}: ${stderr}`)
  if (!told.includes('closed')) problems.push('the store did not close')
  if (!came && failed.length > 0) problems.push(`without a fault: ${failed.join()}`)
  const first = failed[0]
  if (first === undefined) return problems // it came at the close, or not at all
  if (!/^failed \d+ (EIO|EUNKNOWN) /.test(first)) problems.push(`said: ${first}`)
  for (const line of [...failed.slice(1), after ?? 'nothing after']) {
    // The fault may have met the making of the namespace that a later step writes to.
    if (/^failed \d+ ENONS there is no namespace n\d+$/.test(line)) continue
    if (!line.includes('read-only until it is opened again')) problems.push(`said: ${line}`)
  }
  if (!told.includes('reads right')) {
    problems.push(told.find((line) => line.startsWith('reads')) ?? 'nothing was read')
  }
  const watch = told.find((line) => line.startsWith('watch'))
  return watch === undefined ? problems : [...problems, watch]
}
