/** Conditional requests: `If-Match` and `If-None-Match` (RFC 9110, 13.1) as conditions on the ref
 *  of a key. See rfc/12, rules 18 and 29. Pure, except for `conditionally`, which reads the store
 *  if guards cannot express the conditions.
 *  Invariant: a write is committed only on the state that its conditions were judged on. */

import type { Stat } from '../api/kvs.js'
import type { Guard } from '../api/transaction.js'
import { invalid } from '../base/shape.js'
import { isBlobref } from '../blob/blobref.js'
import { isCode, TailraceError } from '../error.js'
import { fromGuardsHeader, guardsHeader } from '../wire/headers.js'
import type { Request } from './app.js'

/** The largest number of tries of a write whose key changes between the look and the commit. */
const conditionTriesMax = 16

/** The `Cache-Control` of a current value: a cache keeps it, and asks with its ETag before each
 *  use. */
export const cacheWithTag = 'no-cache'
/** The `Cache-Control` of data that is named by its hash: it never changes. It is `private`, since
 *  data behind a token is not for shared caches. */
export const cacheForever = 'private, max-age=31536000, immutable'

/** The tags of one header. `any` stands for `*`, which matches every key that is there. */
type Tags = { readonly any: true } | { readonly any: false; readonly refs: readonly string[] }

/** The conditions of a request, from `If-Match` and `If-None-Match`. */
export type Conditions = { readonly match?: Tags; readonly noneMatch?: Tags }

/** Returns the guards of a write, from `Tailrace-Guards`. Throws EINVAL, E2BIG. */
export function guardsOf(request: Request): readonly Guard[] {
  const value = request.headers[guardsHeader]
  return typeof value === 'string' ? fromGuardsHeader(value) : []
}

/** Returns the conditions of a request. Throws EINVAL. */
export function conditionsOf(request: Request): Conditions {
  const { 'if-match': match, 'if-none-match': none } = request.headers
  return {
    ...(match === undefined ? {} : { match: tagsOf('If-Match', match, false) }),
    ...(none === undefined ? {} : { noneMatch: tagsOf('If-None-Match', none, true) }),
  }
}

/** Judges the conditions of a read. `unchanged` means 304. Throws ECONFLICT if `If-Match` does not
 *  hold. */
export function judgeRead(
  { match, noneMatch }: Conditions,
  key: string,
  stat: Stat,
): { readonly unchanged: boolean } {
  if (match && !names(match, stat)) throw conflict(key, stat)
  return { unchanged: noneMatch !== undefined && names(noneMatch, stat) }
}

/** Runs a write under its conditions. One ETag in `If-Match`, or `*` in `If-None-Match`, becomes a
 *  guard. Other conditions are judged on the state that is there now, and that state becomes the
 *  guard. This guard comes before the other `guards` of the request. With `again: false` the write
 *  runs once only. Throws ECONFLICT, and what `write` throws. */
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

/** True if guards alone express the conditions, so that no state needs to be judged. */
export function arePlain(conditions: Conditions): boolean {
  return plainGuards(conditions, '') !== undefined
}

/** Returns the guards that express the conditions; undefined if no guards do. An ETag that is not a
 *  ref matches no key, which no guard can express. */
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

/** Parses the tags of a header. Weak tags count only with `weak`. Throws EINVAL. */
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
