/** The names in a root: the keys that its group changed, and the leases that were taken or ended.
 *  See rfc/17, rule 5; rfc/9.
 *  Invariant: the name of a lease is NUL and its key, which no key can be. So a lease concerns only
 *  those who watch leases, and is never shown as a key. */

import { type Key, rootKey } from './key.js'

/** The largest number of names in a root. Above it the root names none. */
const rootKeysMax = 1_024
/** The largest length of all names in a root together, in UTF-16 units.
 *  Above it the root names none. */
const rootKeysSizeMax = 64 * 1024

const mark = '\0'

/** Returns the name of the lease of a key in a root. */
export function leaseMark(key: Key): Key {
  return `${mark}${key}` as Key
}

/** True if a name in a root is that of a lease. */
export function isLeaseMark(name: string): boolean {
  return name.startsWith(mark)
}

/** Returns the `keys` of a root. They are left out if the root concerns every key: if the root
 *  directory itself was changed, or if there are too many names. */
export function rootKeysOf(changed: ReadonlySet<Key>): { keys?: string[] } {
  if (changed.size > rootKeysMax || changed.has(rootKey)) return {}
  const keys = [...changed]
  const size = keys.reduce((sum, key) => sum + key.length, 0)
  return size > rootKeysSizeMax ? {} : { keys }
}

/** Returns those of the names that are keys. */
export function withoutLeases(names: readonly string[]): readonly string[] {
  return names.some(isLeaseMark) ? names.filter((name) => !isLeaseMark(name)) : names
}

/** True if a root may have changed what a key names. */
export function concerns({ keys }: { readonly keys?: readonly string[] }, key: Key): boolean {
  if (!keys || key === '') return true
  return keys.some(
    (each) => each === key || each.startsWith(`${key}/`) || key.startsWith(`${each}/`),
  )
}
