/** Numbers, sizes and times as people write and read them: `64K`, `1.5G`, `90s`, `7d`. Programs
 *  read `--json`, which has them exactly. See rfc/13, rule 25. */

import { isBlobref } from '../blob/blobref.js'
import { UsageError, type ValueKind } from './command.js'

/** A safe integer of at least `min`. */
export function integer(min = 0): ValueKind<number> {
  return {
    parse: (text, what) => {
      const value = Number(text)
      if (/^[+-]?\d+$/.test(text) && Number.isSafeInteger(value) && value >= min) return value
      const bound = min === Number.MIN_SAFE_INTEGER ? '' : ` of at least ${min}`
      throw new UsageError(`${what} takes an integer${bound}, not "${text}"`)
    },
    scalars: ['number'],
  }
}

const kilo = 1024

const sizeUnits: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['K', kilo],
  ['M', kilo ** 2],
  ['G', kilo ** 3],
  ['T', kilo ** 4],
])

/** A whole number of bytes: `4096`, `64K`, `1.5G`; a K is 1,024. */
export const size: ValueKind<number> = {
  parse: (text, what) => {
    const [, digits, unit] = /^(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?$/i.exec(text) ?? []
    const unitSize = sizeUnits.get((unit ?? '').toUpperCase()) ?? Number.NaN
    const bytes = Math.round(Number(digits) * unitSize)
    if (Number.isSafeInteger(bytes)) return bytes
    throw new UsageError(
      `${what} takes a number of bytes like 4096, 64K, 500M or 10G, not "${text}"`,
    )
  },
}

/** Writes a size in about two digits: `14M` for 14895155, `1.5K` for 1536, `12B` for 12. `size`
 *  reads it back, rounded. */
export function sizeText(bytes: number): string {
  let text = `${bytes}B`
  for (const [unit, unitSize] of sizeUnits) {
    // A size that would be 1024K is written as 1.0M.
    const isNext = Math.round((bytes / unitSize) * kilo) >= kilo
    if (unitSize === 1 || !isNext) continue
    const value = bytes / unitSize
    text = `${value.toFixed(Math.round(value * 10) < 100 ? 1 : 0)}${unit}`
  }
  return text
}

const unitsMs: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
  ['w', 604_800_000],
])

/** A length of time in ms, whole: `500ms`, `90s`, `15m`, `12h`, `7d`. `0` needs no unit. */
export const duration: ValueKind<number> = {
  parse: (text, what) => {
    if (text === '0') return 0
    const [, digits, name] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d|w)$/.exec(text) ?? []
    const ms = Math.round(Number(digits) * (unitsMs.get(name ?? '') ?? Number.NaN))
    if (Number.isSafeInteger(ms)) return ms
    throw new UsageError(
      `${what} takes a length of time like 500ms, 90s, 15m, 12h or 7d, not "${text}"`,
    )
  },
}

/** A time in ms since 1970: a date with a time as ISO 8601 has it, local where it names no zone. */
export const date: ValueKind<number> = {
  parse: (text, what) => {
    const ms = dateOf(text)
    if (ms !== undefined) return ms
    throw new UsageError(`${what} takes a time like 2026-01-31T12:00:00, not "${text}"`)
  },
}

/** A time in ms since 1970: so long ago (`10m`), or a date. */
export const timeBefore: ValueKind<number> = {
  parse: (text, what, literal) => {
    const ms = dateOf(text)
    if (ms !== undefined) return ms
    if (/^\d+(\.\d+)?[a-z]+$/.test(text)) return Date.now() - duration.parse(text, what, literal)
    throw new UsageError(
      `${what} takes a length of time like 10m or 2h, or a time like 2026-01-31T12:00:00, not "${text}"`,
    )
  },
}

function dateOf(text: string): number | undefined {
  if (!/^\d{4}-\d\d-\d\d/.test(text)) return undefined
  const ms = Date.parse(text.replace(' ', 'T'))
  return ms >= 0 ? ms : undefined
}

/** Writes a time in ms since 1970 in the local zone with its offset; with `utc` as ISO 8601 in
 *  UTC. */
export function timeText(time: number, { utc }: { readonly utc: boolean }): string {
  const date = new Date(time)
  if (utc) return date.toISOString()
  const offset = -date.getTimezoneOffset()
  const local = new Date(time + offset * 60_000).toISOString()
  const [day, clock = ''] = local.slice(0, -1).split('T')
  const zone = Math.abs(offset)
  const sign = offset < 0 ? '-' : '+'
  return `${day} ${clock} ${sign}${two(Math.floor(zone / 60))}${two(zone % 60)}`
}

function two(value: number): string {
  return String(value).padStart(2, '0')
}

/** The number of hex digits of a short ref. */
const shortDigits = 12

/** Cuts the ref of a root to a beginning that `--at` and `diff` accept. */
export function shortRef(ref: string): string {
  return isBlobref(ref) ? ref.slice(0, 'blake3-'.length + shortDigits) : ref
}
