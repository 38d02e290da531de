/** Conditional requests: `If-Match` and `If-None-Match` (RFC 9110, 13.1) as what they ask of a key's ref. See
 *  rfc/12. Pure but for `conditionally`, which asks the store where a guard alone cannot say it.
 *  Invariant: a write is done only on the very state that its conditions were judged on. */

import type { Stat } from '../api/kvs.js'
import type { Guard } from '../api/transaction.js'
import { invalid } from '../base/shape.js'
import { isBlobref } from '../blob/blobref.js'
import { isCode, TailraceError } from '../error.js'
import { fromGuardsHeader, guardsHeader } from '../wire/headers.js'
import type { Request } from './app.js'

/** How often a write is tried again whose key changed between the look and the commit. */
export const conditionTriesMax = 16

/** `Cache-Control` of a current value: it is kept, and asked for again with its ETag at each use. */
export const cacheWithTag = 'no-cache'
/** `Cache-Control` of data named by its hash: it never changes. `private`: data behind a token is not for all. */
export const cacheForever = 'private, max-age=31536000, immutable'

/** `any`: whatever is there. Weak tags never match strongly, so they count for If-None-Match only. */
type Tags = { readonly any: true } | { readonly any: false; readonly refs: readonly string[] }

export type Conditions = { readonly match?: Tags; readonly noneMatch?: Tags }

/** Guards of a write, from `Tailrace-Guards`. Throws EINVAL, E2BIG. */
export function guardsOf(request: Request): readonly Guard[] {
  const value = request.headers[guardsHeader]
  return typeof value === 'string' ? fromGuardsHeader(value) : []
}

/** Throws EINVAL. */
export function conditionsOf(request: Request): Conditions {
  const { 'if-match': match, 'if-none-match': none } = request.headers
  return {
    ...(match === undefined ? {} : { match: tagsOf('If-Match', match, false) }),
    ...(none === undefined ? {} : { noneMatch: tagsOf('If-None-Match', none, true) }),
  }
}

/** Of a read: `unchanged` is a 304. Throws ECONFLICT where `If-Match` does not hold. */
export function judgeRead(
  { match, noneMatch }: Conditions,
  key: string,
  stat: Stat,
): { readonly unchanged: boolean } {
  if (match && !names(match, stat)) throw conflict(key, stat)
  return { unchanged: noneMatch !== undefined && names(noneMatch, stat) }
}

/** Runs a write under its conditions. One ETag in `If-Match`, or `*` in `If-None-Match`, is a guard as it
 *  stands; anything else is judged on the state now, and that state is then the guard. It comes before the
 *  request's other `guards`. `again: false`: the write cannot be run twice. Throws ECONFLICT, and what `write`
 *  throws. */
export async function conditionally<T>(
  conditions: Conditions,
  key: string,
  options: {
    readonly guards: readonly Guard[]
    readonly look: () => Promise<Stat | undefined>
    readonly again: boolean
  },
  write: (guards: readonly Guard[]) => Promise<T>,
): Promise<T> {
  const plain = plainGuards(conditions, key)
  if (plain) return write([...plain, ...options.guards])
  for (let tries = 1; ; tries++) {
    const stat = await options.look()
    const { match, noneMatch } = conditions
    const holds = (!match || names(match, stat)) && !(noneMatch && names(noneMatch, stat))
    if (!holds) throw conflict(key, stat)
    try {
      const seen = stat ? { key, ref: stat.ref } : { key, absent: true as const }
      return await write([seen, ...options.guards])
    } catch (error) {
      const moved = isCode(error, 'ECONFLICT') && error.failed?.guard === 0
      if (!moved || !options.again || tries >= conditionTriesMax) throw error
    }
  }
}

/** Whether the conditions are guards as they stand, whatever is there. */
export function arePlain(conditions: Conditions): boolean {
  return plainGuards(conditions, '') !== undefined
}

/** The guards that say the same; undefined where none do: an ETag that is no ref is nobody's. */
function plainGuards({ match, noneMatch }: Conditions, key: string): readonly Guard[] | undefined {
  if (!match && !noneMatch) return []
  if (match && !noneMatch && !match.any) {
    const [ref, ...more] = match.refs
    return ref !== undefined && isBlobref(ref) && more.length === 0 ? [{ key, ref }] : undefined
  }
  return noneMatch?.any && !match ? [{ key, absent: true }] : undefined
}

function names(tags: Tags, stat: Stat | undefined): boolean {
  if (!stat) return false
  return tags.any || tags.refs.includes(stat.ref)
}

function tagsOf(header: string, text: string, weak: boolean): Tags {
  if (text.trim() === '*') return { any: true }
  const tags = [...text.matchAll(/\s*(W\/)?"([\x21\x23-\x7e]*)"\s*(,|$)/gy)]
  const read = tags.reduce((sum, [whole]) => sum + whole.length, 0)
  if (tags.length === 0 || read !== text.length || text.trimEnd().endsWith(',')) {
    throw invalid(`${header} must be * or ETags in quotes: "REF", "REF"`)
  }
  const counted = tags.filter(([, isWeak]) => weak || isWeak === undefined)
  return { any: false, refs: counted.map(([, , ref]) => ref ?? '') }
}

function conflict(key: string, stat: Stat | undefined): TailraceError {
  const state = stat
    ? { type: stat.type, ref: stat.ref, count: stat.count, size: stat.size, sealed: stat.sealed }
    : { absent: true, count: 0 }
  const message = stat ? `"${key}" is at ${stat.ref}: look again` : `"${key}" is not there`
  return new TailraceError('ECONFLICT', message, { failed: { guard: 0, state } })
}
