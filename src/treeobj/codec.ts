/** The encoding of treeobjs in directory nodes, their refs, and the facts about a key that need no
 *  read of its blobs. See rfc/5, rfc/6.
 *  Invariant: a treeobj has one encoding. `decodeTreeobj` reads every treeobj
 *  that `takeTreeobj` accepts. */

import { type Blobref, digestSize, writeDigest } from '../blob/blobref.js'
import { encode, type Plain } from '../blob/codec.js'
import { hashNode } from '../blob/hash.js'
import { TailraceError } from '../error.js'
import { asArray, asBytes, asCount, asRef, asString, corrupt } from './check.js'
import { isNamespaceName, keySizeMax, parseKey } from './key.js'
import {
  type Attrs,
  attrSizeMax,
  type Base,
  inlineSizeMax,
  measureOf,
  type Symlink,
  type Treeobj,
  type Valref,
} from './treeobj.js'

const valKind = 0
const valrefKind = 1
const dirKind = 2
const symlinkKind = 3

const namespaceSizeMax = 63

/** Returns the ref of a treeobj. It names the whole content of a key, attributes included: equal
 *  refs mean equal contents. */
export function refOf(treeobj: Treeobj): Blobref {
  return hashNode(encode(encodeTreeobj(treeobj)))
}

/** Returns the fields of a treeobj, the kind first. */
export function encodeTreeobj(treeobj: Treeobj): Plain[] {
  switch (treeobj.type) {
    case 'val':
      return withAttrs([valKind, treeobj.data], treeobj.attrs)
    case 'valref':
      return encodeValref(treeobj)
    case 'dir':
      return [dirKind, treeobj.ref ? encodeRef(treeobj.ref) : null, treeobj.keys, treeobj.size]
    case 'symlink':
      return treeobj.namespace === undefined
        ? [symlinkKind, treeobj.target]
        : [symlinkKind, treeobj.target, treeobj.namespace]
    default:
      return treeobj satisfies never
  }
}

/** Returns the treeobj of these fields. Throws ECORRUPT. */
export function decodeTreeobj(input: unknown): Treeobj {
  const [kind, ...fields] = asArray(input, 2, 6)
  switch (kind) {
    case valKind: {
      const [data, attrs] = asArray(fields, 1, 2)
      return { type: 'val', data: asBytes(data, inlineSizeMax), ...decodeAttrs(attrs, false) }
    }
    case valrefKind: {
      const [ref, count, size, attrs, base] = asArray(fields, 3, 5)
      const totals = { count: asCount(count), size: asCount(size) }
      const named = { type: 'valref', ref: asRef(ref), ...totals } as const
      if (base === undefined) return { ...named, ...decodeAttrs(attrs, true) }
      const rest = attrs === null ? {} : decodeAttrs(attrs, true)
      return { ...named, base: decodeBase(base, totals), ...rest }
    }
    case dirKind: {
      const [ref, keys, size] = asArray(fields, 3, 3)
      const dir = { type: 'dir', keys: asCount(keys), size: asCount(size) } as const
      if (ref !== null) return { ...dir, ref: asRef(ref) }
      if (dir.keys > 0 || dir.size > 0) throw corrupt('an empty directory with keys or bytes')
      return { ...dir, ref: undefined }
    }
    case symlinkKind: {
      const [target, namespace] = asArray(fields, 1, 2)
      const link = { type: 'symlink', target: asString(target, keySizeMax) } as const
      if (!isNormal(link.target)) throw corrupt('a link whose target is not a key')
      if (namespace === undefined) return link
      const name = asString(namespace, namespaceSizeMax)
      if (!isNamespaceName(name)) throw corrupt('a link into what is not a namespace')
      return { ...link, namespace: name }
    }
    default:
      throw corrupt(`an entry of the unknown kind ${String(kind)}`)
  }
}

/** Returns a treeobj as a directory stores it, with a copy of an inline value, since the caller may
 *  write its bytes again. Throws EINVAL for a value or an attribute that is too large, an inline
 *  value that is sealed, a base that the log does not have, and a link whose target is not a normal
 *  key or whose namespace is no name. */
export function takeTreeobj(treeobj: Treeobj): Treeobj {
  switch (treeobj.type) {
    case 'val':
      if (treeobj.data.length > inlineSizeMax) {
        throw new TailraceError('EINVAL', `an inline value has at most ${inlineSizeMax} bytes`)
      }
      if (treeobj.attrs?.sealed) throw new TailraceError('EINVAL', 'only a log can be sealed')
      checkAttrs(treeobj.attrs)
      return { ...treeobj, data: copyOf(treeobj.data) }
    case 'valref':
      checkAttrs(treeobj.attrs)
      if (treeobj.base && !isBase(treeobj.base, treeobj)) {
        throw new TailraceError('EINVAL', 'the base of a log drops what the log does not have')
      }
      return treeobj
    case 'dir':
      return treeobj
    case 'symlink':
      checkLink(treeobj)
      return treeobj
    default:
      return treeobj satisfies never
  }
}

/** True if both have the same content. */
export function sameTreeobj(a: Treeobj, b: Treeobj): boolean {
  if (a.type === 'val' && b.type === 'val') {
    return Buffer.compare(a.data, b.data) === 0 && sameAttrs(a.attrs, b.attrs)
  }
  if (a.type === 'valref' && b.type === 'valref') {
    const same = a.ref === b.ref && a.count === b.count && a.size === b.size
    return same && a.base?.count === b.base?.count && sameAttrs(a.attrs, b.attrs)
  }
  if (a.type === 'dir' && b.type === 'dir') return a.ref === b.ref
  if (a.type === 'symlink' && b.type === 'symlink') {
    return a.target === b.target && a.namespace === b.namespace
  }
  return false
}

/** Returns the digest of a ref. */
export function encodeRef(ref: Blobref): Buffer {
  const digest = Buffer.allocUnsafe(digestSize)
  writeDigest(ref, digest, 0)
  return digest
}

function encodeValref({ ref, count, size, attrs, base }: Valref): Plain[] {
  const fields = withAttrs([valrefKind, encodeRef(ref), count, size], attrs)
  if (!base) return fields
  if (fields.length === 4) fields.push(null)
  fields.push([base.count, base.size])
  return fields
}

/** The totals of a log, those of its dropped head included. */
type Totals = { readonly count: number; readonly size: number }

function decodeBase(input: unknown, of: Totals): Base {
  const [count, size] = asArray(input, 2, 2)
  const base = { count: asCount(count), size: asCount(size) }
  if (!isBase(base, of)) throw corrupt('a log whose base drops what it does not have')
  return base
}

/** True if a base drops at least one blob and at most all, and a number of
 *  bytes that they can have. */
function isBase(base: Base, of: Totals): boolean {
  if (!Number.isSafeInteger(base.count) || base.count < 1 || base.count > of.count) return false
  if (!Number.isSafeInteger(base.size) || base.size < 0 || base.size > of.size) return false
  return base.count < of.count || base.size === of.size
}

function sameAttrs(a: Attrs = {}, b: Attrs = {}): boolean {
  return a.contentType === b.contentType && a.sealed === b.sealed
}

/** Adds the attributes to the fields, as pairs sorted by name. Adds nothing if there are none. */
function withAttrs(fields: Plain[], attrs: Attrs | undefined): Plain[] {
  const pairs: Plain[] = []
  if (attrs?.contentType !== undefined) pairs.push(['contentType', attrs.contentType])
  if (attrs?.sealed) pairs.push(['sealed', true])
  if (pairs.length > 0) fields.push(pairs)
  return fields
}

function decodeAttrs(input: unknown, mayBeSealed: boolean): { readonly attrs?: Attrs } {
  if (input === undefined) return {}
  const attrs: { contentType?: string; sealed?: true } = {}
  for (const pair of asArray(input, 1, 2)) {
    const [name, value] = asArray(pair, 2, 2)
    const first = attrs.contentType === undefined && attrs.sealed === undefined
    if (name === 'contentType' && first) attrs.contentType = asString(value, attrSizeMax)
    else if (name === 'sealed' && value === true && !attrs.sealed && mayBeSealed)
      attrs.sealed = true
    else throw corrupt(`attributes that are unknown, out of order or doubled`)
  }
  return { attrs }
}

function checkAttrs(attrs: Attrs | undefined): void {
  const contentType = attrs?.contentType
  if (contentType === undefined) return
  if (!contentType.isWellFormed() || Buffer.byteLength(contentType) > attrSizeMax) {
    throw new TailraceError('EINVAL', `a contentType is text of at most ${attrSizeMax} bytes`)
  }
}

function copyOf(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  copy.set(bytes)
  return copy
}

function checkLink({ target, namespace }: Symlink): void {
  if (!isNormal(target)) {
    throw new TailraceError('EINVAL', 'the target of a link is a key, in its normal form')
  }
  if (namespace !== undefined && !isNamespaceName(namespace)) {
    throw new TailraceError('EINVAL', `a link leads into "${namespace}", which names no namespace`)
  }
}

function isNormal(target: string): boolean {
  try {
    return parseKey(target) === target
  } catch {
    return false
  }
}

/** The fields of a `Stat` (`api/kvs.ts`) that stand in the treeobj itself. */
type TreeobjStat = {
  readonly type: Treeobj['type']
  readonly ref: Blobref
  readonly count: number
  readonly size: number
  readonly seq: number
  readonly sealed: boolean
  readonly base?: Base
  readonly attrs?: Attrs
  readonly target?: string
  readonly namespace?: string
}

/** Returns the facts about a treeobj. `seq` is that of the root at which it was found. */
export function statOf(treeobj: Treeobj, seq: number): TreeobjStat {
  const ref = refOf(treeobj)
  const base = { ...measureOf(treeobj), ref, seq }
  switch (treeobj.type) {
    case 'val':
    case 'valref': {
      const { attrs } = treeobj
      const dropped = treeobj.type === 'valref' && treeobj.base ? { base: treeobj.base } : {}
      const sealed = attrs?.sealed === true
      return { ...base, sealed, ...dropped, ...(attrs ? { attrs } : {}) }
    }
    case 'dir':
      return { ...base, sealed: false }
    case 'symlink': {
      const { target, namespace } = treeobj
      return { ...base, sealed: false, target, ...(namespace === undefined ? {} : { namespace }) }
    }
    default:
      return treeobj satisfies never
  }
}
