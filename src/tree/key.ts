/** Keys: components joined by `/`. See rfc/5.
 *  Invariant: a value of type Key is normal (no empty component, none of `.` and `..`, well-formed
 *  UTF-16, no NUL, within the limits, but for `joinKey`); only this file makes one. The root directory is ''. */

import { TailraceError } from '../error.js'

declare const brand: unique symbol
export type Key = string & { readonly [brand]: 'Key' }

/** UTF-8 bytes. */
export const componentSizeMax = 255
export const keySizeMax = 1024
/** Of what stands in a directory that a key can name. */
export const entryKeySizeMax = keySizeMax + 1 + componentSizeMax

export const rootKey = '' as Key

/** Most keys: normal as they stand, each component at most as long as the whole. */
const plain = /^[\w-][\w.-]*(?:\/[\w-][\w.-]*)*$/

/** Drops leading, trailing and repeated `/`. Throws EINVAL. */
export function parseKey(input: unknown): Key {
  return parseUpTo(input, keySizeMax)
}

/** The key of an entry that was met in a directory, after which a listing goes on. Throws EINVAL. */
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

/** The components from the root down; the root directory has none. */
export function componentsOf(key: Key): string[] {
  return key === '' ? [] : key.split('/')
}

/** REQUIRES: `name` is a component of a key. The whole may be too long to be asked for: a directory may come
 *  to stand below another one with all that is in it. */
export function joinKey(directory: Key, name: string): Key {
  return (directory === '' ? name : `${directory}/${name}`) as Key
}

/** May this be asked for? Walks that name keys do not go into a directory that may not: it stands for all
 *  that is below it, so that what they name is bounded, however deep the tree is. */
export function isAddressable(key: string): boolean {
  return Buffer.byteLength(key) <= keySizeMax
}

/** The directory that holds the key; undefined for the root directory. */
export function parentOf(key: Key): Key | undefined {
  if (key === '') return undefined
  const end = key.lastIndexOf('/')
  return (end < 0 ? '' : key.slice(0, end)) as Key
}

/** May this be one component of a key, as it stands? */
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
