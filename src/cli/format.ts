/** Times and refs as people read them. Programs read `--json`, which has both exactly. See rfc/13, rule 25. */

import { isBlobref } from '../blob/blobref.js'
import type { Options } from './invocation.js'

/** Hex digits of a ref that is shown short. */
const shortDigits = 12

/** A time in ms since 1970, in the local zone with its offset; with `--utc` as ISO 8601 in UTC. */
export function timeText(time: number, options: Options): string {
  const date = new Date(time)
  if (options.flag('utc')) return date.toISOString()
  const offset = -date.getTimezoneOffset()
  const local = new Date(time + offset * 60_000).toISOString()
  const [day, clock = ''] = local.slice(0, -1).split('T')
  const zone = Math.abs(offset)
  const sign = offset < 0 ? '-' : '+'
  return `${day} ${clock} ${sign}${two(Math.floor(zone / 60))}${two(zone % 60)}`
}

/** The ref of a root, cut to what `--at` and `diff` take for it. */
export function shortRef(ref: string): string {
  return isBlobref(ref) ? ref.slice(0, 'blake3-'.length + shortDigits) : ref
}

function two(value: number): string {
  return String(value).padStart(2, '0')
}
