/** Lengths of time as people write them: `90s`, `15m`, `12h`, `7d`. See rfc/13. */

import { UsageError } from './invocation.js'

const unitsMs: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
  ['w', 604_800_000],
])

/** In ms, whole. `0` needs no unit. Throws UsageError. */
export function parseDuration(what: string, text: string): number {
  if (text === '0') return 0
  const [, digits, name] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d|w)$/.exec(text) ?? []
  const ms = Math.round(Number(digits) * (unitsMs.get(name ?? '') ?? Number.NaN))
  if (Number.isSafeInteger(ms)) return ms
  throw new UsageError(
    `${what} takes a length of time like 500ms, 90s, 15m, 12h or 7d, not "${text}"`,
  )
}
