/** What a root names: the keys that its group changed, and the leases that were taken or went. See
 *  rfc/17, rule 5; rfc/9.
 *  Invariant: a lease stands there as NUL and its key, which can be no key: it concerns only who asked
 *  for leases, and is shown to nobody as a key. */

import { type Key, rootKey } from './key.js'

/** Names in one root, and their length (UTF-16 units); above it the root names none. */
export const rootKeysMax = 1_024
export const rootKeysSizeMax = 64 * 1024

const mark = '\0'

/** How a root names the lease of a key. */
export function leaseMark(key: Key): Key {
  return `${mark}${key}` as Key
}

export function isLeaseMark(name: string): boolean {
  return name.startsWith(mark)
}

/** A change of the root directory itself concerns everybody, as too many keys do. */
export function keysOf(changed: ReadonlySet<Key>): { keys?: string[] } {
  if (changed.size > rootKeysMax || changed.has(rootKey)) return {}
  const keys = [...changed]
  const size = keys.reduce((sum, key) => sum + key.length, 0)
  return size > rootKeysSizeMax ? {} : { keys }
}

/** The names that are keys. */
export function withoutLeases(names: readonly string[]): readonly string[] {
  return names.some(isLeaseMark) ? names.filter((name) => !isLeaseMark(name)) : names
}

/** May a root have changed what a key names? */
export function concerns({ keys }: { readonly keys?: readonly string[] }, key: Key): boolean {
  if (!keys || key === '') return true
  return keys.some(
    (each) => each === key || each.startsWith(`${key}/`) || key.startsWith(`${each}/`),
  )
}
