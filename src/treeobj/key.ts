/** Keys: components joined by `/`; the root directory is ''. The names of namespaces, and the order
 *  of names in a directory. See rfc/5, rfc/6.
 *  Invariant: a value of type Key is normal: it has no empty component, no `.` and no
 *  `..`, no NUL, is well-formed UTF-16, and holds the limits unless `joinKey` made it.
 *  Only this file makes one. */

import { TailraceError } from '../error.js'

declare const brand: unique symbol
/** The name of a value, a directory or a link. */
export type Key = string & { readonly [brand]: 'Key' }

/** The largest size of a component, in UTF-8 bytes. */
const componentSizeMax = 255
/** The largest size of a key that requests may name, in UTF-8 bytes. */
export const keySizeMax = 1024
/** The largest size, in UTF-8 bytes, of the key of an entry whose directory a request may name. */
const entryKeySizeMax = keySizeMax + 1 + componentSizeMax

/** The key of the root directory. */
export const rootKey = '' as Key

/** A quick test for most keys: ASCII only, normal as they are, and short
 *  enough to need no other check. */
const plain = /^[\w-][\w.-]*(?:\/[\w-][\w.-]*)*$/

/** Returns the key that a text names, without leading, trailing and repeated `/`. Throws EINVAL. */
export function parseKey(input: unknown): Key {
  return parseUpTo(input, keySizeMax)
}

/** Returns the key of an entry that a listing yielded, behind which the listing goes on. It may be
 *  longer than `keySizeMax`. Throws EINVAL. */
export function parseEntryKey(input: unknown): Key {
  return parseUpTo(input, entryKeySizeMax)
}

function parseUpTo(input: unknown, sizeMax: number): Key {
  if (typeof input !== 'string') throw new TailraceError('EINVAL', 'a key is a string')
  if (input.length <= componentSizeMax && plain.test(input)) return input as Key
  const components = input.split('/').filter((component) => component !== '')
  for (const component of components) checkComponent(component)
  const key = components.join('/')
  if (Buffer.byteLength(key) > sizeMax) {
    throw new TailraceError('EINVAL', `a key has at most ${sizeMax} bytes`)
  }
  return key as Key
}

/** Returns the components of a key, from the root down; the root directory has none. */
export function componentsOf(key: Key): string[] {
  return key === '' ? [] : key.split('/')
}

/** Returns the key of an entry of a directory. It may be longer than `keySizeMax`, since a copy may
 *  put a deep directory below another one. REQUIRES: `name` is a component of a key. */
export function joinKey(directory: Key, name: string): Key {
  return (directory === '' ? name : `${directory}/${name}`) as Key
}

/** Returns a key as messages show it: the root directory is `/`. */
export function shownKey(key: string): string {
  return key === '' ? '/' : key
}

/** True if a key is at most `keySizeMax`, so that requests may name it. Walks that yield keys do
 *  not go into a directory with a longer key: it stands for all that is below it, so that the keys
 *  that they yield are bounded, however deep the tree is. */
export function isAddressable(key: string): boolean {
  return Buffer.byteLength(key) <= keySizeMax
}

/** True if a text is one component of a key, as it is. */
export function isComponent(name: string): boolean {
  return (
    name !== '' &&
    name !== '.' &&
    name !== '..' &&
    !name.includes('/') &&
    !name.includes('\0') &&
    name.isWellFormed() &&
    Buffer.byteLength(name) <= componentSizeMax
  )
}

function checkComponent(component: string): void {
  if (component === '.' || component === '..') {
    throw new TailraceError('EINVAL', `a component of a key may not be "${component}"`)
  }
  if (component.includes('\0')) throw new TailraceError('EINVAL', 'a key may not hold NUL')
  if (!component.isWellFormed())
    throw new TailraceError('EINVAL', 'a key must be well-formed UTF-8')
  if (Buffer.byteLength(component) > componentSizeMax) {
    throw new TailraceError('EINVAL', `a component of a key has at most ${componentSizeMax} bytes`)
  }
}

const pattern = /^[a-z0-9][a-z0-9_-]{0,62}$/

/** True if a text is the name of a namespace. */
export function isNamespaceName(text: string): boolean {
  return pattern.test(text)
}

/** Returns `input` as the name of a namespace. Throws EINVAL. */
export function parseNamespaceName(input: unknown): string {
  if (typeof input !== 'string' || !isNamespaceName(input)) {
    throw new TailraceError(
      'EINVAL',
      'a namespace is 1 to 63 of a-z, 0-9, "_" and "-", and starts with a letter or digit',
    )
  }
  return input
}

/** Returns a number below 0 if `a` is before `b`, 0 if they are equal, above 0 if `a` is behind
 *  `b`. REQUIRES: both are well formed. */
export function compareNames(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let at = 0; at < length; at++) {
    const left = a.charCodeAt(at)
    const right = b.charCodeAt(at)
    if (left !== right) return rankOf(left) - rankOf(right)
  }
  return a.length - b.length
}

/** Returns the rank of a UTF-16 unit in the order of code points: surrogates are
 *  behind U+E000 to U+FFFF. */
function rankOf(unit: number): number {
  if (unit < 0xd800) return unit
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800
}
