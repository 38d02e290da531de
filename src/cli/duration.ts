/** Lengths of time as people write them: `90s`, `15m`, `12h`, `7d`; and times, by those or as dates. See rfc/13. */

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

/** In ms since 1970: so long ago (`10m`), or a date with a time as ISO 8601 has it, local where it names no zone.
 *  Throws UsageError. */
export function parseTime(what: string, text: string): number {
  const date = dateOf(text)
  if (date !== undefined) return date
  if (/^\d+(\.\d+)?[a-z]+$/.test(text)) return Date.now() - parseDuration(what, text)
  throw new UsageError(
    `${what} takes a length of time like 10m or 2h, or a time like 2026-01-31T12:00:00, not "${text}"`,
  )
}

/** In ms since 1970: a date with a time as ISO 8601 has it, local where it names no zone. Throws UsageError. */
export function parseDate(what: string, text: string): number {
  const date = dateOf(text)
  if (date !== undefined) return date
  throw new UsageError(`${what} takes a time like 2026-01-31T12:00:00, not "${text}"`)
}

function dateOf(text: string): number | undefined {
  if (!/^\d{4}-\d\d-\d\d/.test(text)) return undefined
  const ms = Date.parse(text.replace(' ', 'T'))
  return ms >= 0 ? ms : undefined
}
