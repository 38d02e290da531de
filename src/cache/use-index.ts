/** The index of the last uses of results. See rfc/22, rule 18.
 *  Invariant: an entry tells which results were used last in its hour, as far as their records agree.
 *  Pure. */

import type { Op, Token } from '../api/transaction.js'
import { usesKey } from './record.js'

const hourMs = 3_600_000
const hourDigits = 8
const idSize = 64

/** A use of a result: its id, and the token of its record. */
export type Use = { readonly id: string; readonly token: Token }

/** Returns the hour of a time, since 1970. */
export function hourOf(time: number): number {
  return Math.floor(time / hourMs)
}

/** Returns the key of the uses of an hour; the keys of hours are in their order. */
export function hourKey(hour: number): string {
  return `${usesKey}/${String(hour).padStart(hourDigits, '0')}`
}

/** Returns the end of an hour, ms since 1970. */
export function endOfHour(hour: number): number {
  return (hour + 1) * hourMs
}

/** Returns the ops that add uses in an hour to the index, as one entry. The record of one token is set to
 *  an hour at most once, so that no two entries have one key. */
export function useOps(hour: number, uses: readonly Use[]): Op[] {
  const [first, ...others] = uses
  if (!first) return []
  const key = `${hourKey(hour)}/${first.id}-${first.token.seq}`
  return [{ op: 'put', key, value: Buffer.from(others.map(({ id }) => id).join(''), 'hex') }]
}

/** Returns the ids of an entry of the index, by its name and its value. */
export function idsOfEntry(name: string, value: Uint8Array): readonly string[] {
  const others = Buffer.from(value).toString('hex')
  const ids = [name.slice(0, idSize)]
  for (let at = 0; at < others.length; at += idSize) ids.push(others.slice(at, at + idSize))
  return ids
}
