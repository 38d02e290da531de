/** The canonical bytes of actions and of their results. See rfc/22, rules 2 to 4.
 *  Invariant: equal values have equal bytes, whatever the order of their fields, and values that
 *  differ have different bytes. No value is packed whose meaning another process could read
 *  otherwise. Pure. */

import { decode, encode, type Plain } from '../blob/codec.js'
import { TailraceError } from '../error.js'
import { compareNames } from '../treeobj/key.js'

/** The deepest nesting of a packed value: objects and arrays in each other. */
export const packedDepthMax = 64

/** The largest size of a packed action, in bytes. */
export const actionSizeMax = 1024 * 1024

/** The first items of a packed object, of a packed array, and of a packed bigint. */
const [objectTag, arrayTag, bigintTag] = [0, 1, 2]

/** Returns the bytes of a value. Throws EINVAL for one that has no canonical form; the message
 *  names the value by `what` and the path within it. */
export function pack(value: unknown, what: string): Uint8Array {
  // A copy, since `encode` gives a slice of a pool.
  return Uint8Array.from(encode(plainOf(value, what, [])))
}

/** Throws EINVAL for a value that `pack` does not take; `what` names it. */
export function checkPlain(value: unknown, what: string): void {
  plainOf(value, what, [])
}

/** Returns the bytes of an action. Throws EINVAL (a value in it has no canonical form; the message names
 *  its path), E2BIG. */
export function packedActionOf(action: unknown): Uint8Array {
  const bytes = pack(action, 'action')
  if (bytes.length <= actionSizeMax) return bytes
  const message = `the action has ${bytes.length} bytes, more than ${actionSizeMax}: name large inputs by their hash`
  throw new TailraceError('E2BIG', message)
}

/** Returns the value of packed bytes. A Buffer comes back as a Uint8Array. Throws EINVAL for bytes
 *  that `pack` did not make; `what` names them. */
export function unpack(bytes: Uint8Array, what: string): unknown {
  try {
    return readPlain(decode(bytes))
  } catch (cause) {
    throw new TailraceError('EINVAL', `${what} is no packed value`, { cause })
  }
}

/** The path of a value: its text, or that of the value it stands in and its name there. The text is made for
 *  a message only: for each field of a small value it took most of the time. */
export type ValuePath = string | { readonly in: ValuePath; readonly name: string | number }

/** Returns the path of a field or an item: `a.b`, `a["b c"]`, `a[0]`. */
export function pathTo(path: string, name: string | number): string {
  if (typeof name === 'string' && /^[\w$-]+$/.test(name))
    return path === '' ? name : `${path}.${name}`
  return `${path}[${JSON.stringify(name)}]`
}

function plainOf(value: unknown, path: ValuePath, above: readonly object[]): Plain {
  switch (typeof value) {
    case 'boolean':
      return value
    case 'number':
      if (!Number.isFinite(value)) throw refused(path, `is ${value}: give it as text`)
      return value === 0 ? 0 : value // -0 equals 0
    case 'bigint':
      return [bigintTag, String(value)]
    case 'string':
      if (!value.isWellFormed()) throw refused(path, 'is text with half a surrogate pair')
      return value
    case 'object':
      return value === null ? null : objectOf(value, path, above)
    case 'undefined':
      throw refused(path, 'is undefined: leave it out, or give null')
    default:
      throw refused(path, `is a ${typeof value}: give what identifies it, such as name and version`)
  }
}

function objectOf(value: object, path: ValuePath, above: readonly object[]): Plain {
  if (value instanceof Uint8Array) return value
  if (above.includes(value)) throw refused(path, 'is one of the values that it stands in')
  if (above.length === packedDepthMax)
    throw refused(path, `is deeper than ${packedDepthMax} levels`)
  const inner = [...above, value]
  if (Array.isArray(value)) {
    const plain: Plain[] = [arrayTag]
    for (const [at, item] of itemsOf(value, path).entries()) {
      plain.push(plainOf(item, { in: path, name: at }, inner))
    }
    return plain
  }
  const plain: Plain[] = [objectTag]
  for (const [name, field] of fieldsOf(value, path)) {
    plain.push(name, plainOf(field, { in: path, name }, inner))
  }
  return plain
}

/** Returns the items of an array, holes as undefined. Throws EINVAL for an array of a class of its
 *  own, and for one with fields beside its items. */
export function itemsOf(array: readonly unknown[], path: ValuePath): readonly unknown[] {
  if (Object.getPrototypeOf(array) !== Array.prototype) throw refused(path, adviceOn(array))
  const fields = Object.keys(array).length + Object.getOwnPropertySymbols(array).length
  if (fields > array.length) throw refused(path, 'has fields beside its items')
  return Array.from(array)
}

/** Returns the fields of a plain object that are not undefined, in the order of their names. Throws
 *  EINVAL for any other object, and for a name that has no canonical form. */
export function fieldsOf(
  object: object,
  path: ValuePath,
): readonly (readonly [name: string, field: unknown])[] {
  const prototype: unknown = Object.getPrototypeOf(object)
  if (prototype !== Object.prototype && prototype !== null) throw refused(path, adviceOn(object))
  if (Object.getOwnPropertySymbols(object).length > 0) throw refused(path, 'has a symbol as a name')
  const fields: (readonly [name: string, field: unknown])[] = []
  let [last, isSorted] = ['', true]
  for (const name of Object.keys(object)) {
    const field = (object as Readonly<Record<string, unknown>>)[name]
    if (field === undefined) continue
    if (!name.isWellFormed()) throw refused(path, 'has a name with half a surrogate pair')
    isSorted &&= compareNames(last, name) <= 0
    last = name
    fields.push([name, field])
  }
  // Most have few fields, and a sort of these takes longer than to look at them.
  return isSorted ? fields : fields.sort(([a], [b]) => compareNames(a, b))
}

/** Says how to give a value that is not plain. */
function adviceOn(value: object): string {
  if (value instanceof Date) return 'is a Date: give value.toISOString()'
  if (value instanceof Map) return 'is a Map: give Object.fromEntries(value), or its sorted entries'
  if (value instanceof Set) return 'is a Set: give its items as a sorted array'
  if (ArrayBuffer.isView(value)) {
    return 'is a typed array, whose bytes differ between machines: give an array, or a Uint8Array'
  }
  if (value instanceof ArrayBuffer) return 'is an ArrayBuffer: give new Uint8Array(value)'
  if (value instanceof Promise) return 'is a promise: await it'
  const name = value.constructor?.name
  return `is ${name ? `of the class ${name}` : 'no plain object'}: give a plain object of what matters`
}

function refused(path: ValuePath, why: string): TailraceError {
  return new TailraceError('EINVAL', `${textOf(path)} ${why}`)
}

function textOf(path: ValuePath): string {
  return typeof path === 'string' ? path : pathTo(textOf(path.in), path.name)
}

/** A field of an object's own, whatever its name is. */
const ownField = { enumerable: true, writable: true, configurable: true }

function readPlain(plain: unknown): unknown {
  // A Buffer, which Node's sockets give, is not equal to a Uint8Array.
  if (plain instanceof Uint8Array)
    return new Uint8Array(plain.buffer, plain.byteOffset, plain.length)
  if (!Array.isArray(plain)) return plain
  const [tag] = plain
  if (tag === arrayTag) return plain.slice(1).map(readPlain)
  if (tag === bigintTag) return BigInt(plain[1])
  if (tag !== objectTag || plain.length % 2 === 0) throw new TypeError(`no kind of value: ${tag}`)
  const object: Record<string, unknown> = {}
  for (let at = 1; at < plain.length; at += 2) {
    const name = plain[at]
    const value = readPlain(plain[at + 1])
    if (name !== '__proto__') object[name] = value
    else Object.defineProperty(object, name, { ...ownField, value })
  }
  return object
}
