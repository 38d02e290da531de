/** The parts in which two actions differ, which answer "why did it miss?". See rfc/22, rule 15.
 *  Pure. */

import { isDeepStrictEqual } from 'node:util'
import { type ActionDifference, differencesMax } from '../api/cache.js'
import { pathTo } from './packing.js'

/** Returns the smallest parts that differ, in the order of the fields of `before`; those that only
 *  `after` has come behind their neighbours. At most `differencesMax`. */
export function differencesOf(before: unknown, after: unknown): ActionDifference[] {
  const found: ActionDifference[] = []
  compare('', before, after, found)
  return found
}

function compare(path: string, before: unknown, after: unknown, found: ActionDifference[]): void {
  if (found.length === differencesMax || isDeepStrictEqual(before, after)) return
  const [olds, news] = [partsOf(before), partsOf(after)]
  if (!olds || !news || Array.isArray(before) !== Array.isArray(after)) {
    found.push({ path, before, after })
    return
  }
  for (const name of new Set([...olds.keys(), ...news.keys()])) {
    if (found.length === differencesMax) return
    const inner = pathTo(path, name)
    if (!news.has(name)) found.push({ path: inner, before: olds.get(name) })
    else if (!olds.has(name)) found.push({ path: inner, after: news.get(name) })
    else compare(inner, olds.get(name), news.get(name), found)
  }
}

/** Returns the parts of an object by name, those of an array by index; undefined for any other
 *  value. */
function partsOf(value: unknown): ReadonlyMap<string | number, unknown> | undefined {
  if (Array.isArray(value)) return new Map(value.entries())
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return undefined
  return new Map(Object.entries(value))
}
