/** The op `treeobj`: parses a treeobj in JSON that a caller wrote, and puts it to a key. See
 *  rfc/18, rules 1, 7 and 8.
 *  Invariant: a parsed treeobj is well formed and canonical; every refusal names its field.
 *  `treeobj-check.ts` checks the blobs and nodes that it names before it is applied. */

import assert from 'node:assert/strict'
import type { Op } from '../api/transaction.js'
import { decodeBase64, encodeBase64 } from '../blob/base64.js'
import { blobSizeMax } from '../blob/blob.js'
import { type Blobref, isBlobref } from '../blob/blobref.js'
import type { DraftGroup, Work } from '../draft/group.js'
import { TailraceError } from '../error.js'
import { type ArrayBlob, closeArray, emptyArray, pushBlob } from '../tree/array.js'
import { refOf, takeTreeobj } from '../treeobj/codec.js'
import { isNamespaceName, type Key, parseKey } from '../treeobj/key.js'
import {
  type Attrs,
  type Base,
  inlineSizeMax,
  type Symlink,
  type Treeobj,
  type Val,
} from '../treeobj/treeobj.js'
import { clear, set } from './copy.js'

/** The largest number of refs in one valref. A longer log can be copied, not written. */
const treeobjRefsMax = 131_072

/** A log that is given by its blobs. A field that was left out is undefined. */
export type RawLog = {
  readonly type: 'log'
  readonly refs: readonly Blobref[]
  readonly sizes: readonly number[] | undefined
  readonly more: readonly boolean[] | undefined
  readonly attrs: Attrs | undefined
  readonly count: number | undefined
  readonly size: number | undefined
  /** The base of a trimmed log, with the root node of its whole array. */
  readonly base: (Base & { readonly ref: Blobref }) | undefined
}

/** A directory that is given by its root node. */
export type RawDir = {
  readonly type: 'dirref'
  readonly ref: Blobref
  readonly count: number | undefined
  readonly size: number | undefined
}

/** A parsed treeobj. `whole`: it names no blob and no node. */
type RawTreeobj = { readonly type: 'whole'; readonly treeobj: Treeobj } | RawLog | RawDir

type Fields = Readonly<Record<string, unknown>>

const known: Readonly<Record<string, readonly string[]>> = {
  val: ['attrs'],
  valref: ['attrs', 'sizes', 'more', 'count', 'size', 'base', 'ref', 'next'],
  dir: [],
  dirref: ['count', 'size'],
  symlink: [],
}

/** Parses a treeobj, field by field. Throws EINVAL, E2BIG. */
function parseTreeobj(input: unknown): RawTreeobj {
  const { ver, type } = fieldsOf(input, '')
  if (ver !== 1) throw wrong('ver', 'is 1')
  const names = typeof type === 'string' && Object.hasOwn(known, type) ? known[type] : undefined
  if (!names) throw wrong('type', `is one of ${Object.keys(known).join(', ')}`)
  const fields = fieldsOf(input, '', ['ver', 'type', 'data', ...names])
  switch (type) {
    case 'val':
      return { type: 'whole', treeobj: valOf(fields) }
    case 'symlink':
      return { type: 'whole', treeobj: linkOf(fields) }
    case 'dir':
      fieldsOf(fields['data'], 'data', [])
      return { type: 'whole', treeobj: { type: 'dir', ref: undefined, keys: 0, size: 0 } }
    case 'dirref': {
      const [ref, ...others] = refsOf(fields['data'])
      if (!ref || others.length > 0) throw wrong('data', 'of a dirref is one ref in an array')
      return { type: 'dirref', ref, ...totalsOf(fields, '') }
    }
    default:
      return logOf(fields)
  }
}

function valOf({ data, attrs }: Fields): Val {
  if (typeof data !== 'string') throw wrong('data', 'of a val is base64')
  const bytes = bytesOf(data)
  if (bytes.length > inlineSizeMax) {
    throw wrong('data', `of a val has at most ${inlineSizeMax} bytes: store a blob, and a valref`)
  }
  const kept = attrsOf(attrs, ['contentType'])
  return { type: 'val', data: bytes, ...(kept && { attrs: kept }) }
}

function bytesOf(base64: string): Uint8Array {
  try {
    const bytes = decodeBase64(base64)
    if (encodeBase64(bytes) === base64) return bytes
  } catch {
    // The error below names the field.
  }
  throw wrong('data', 'of a val is base64, of the standard alphabet and padded')
}

function linkOf({ data }: Fields): Symlink {
  const { target, namespace } = fieldsOf(data, 'data', ['target', 'namespace'])
  if (typeof target !== 'string') throw wrong('data.target', 'is a key')
  const link: Symlink = { type: 'symlink', target }
  try {
    takeTreeobj(link)
  } catch (cause) {
    throw wrong('data.target', 'is a key, in its normal form', cause)
  }
  if (namespace === undefined) return link
  if (typeof namespace === 'string' && isNamespaceName(namespace)) return { ...link, namespace }
  throw wrong('data.namespace', 'is the name of a namespace')
}

function logOf(fields: Fields): RawLog {
  if (fields['next'] !== undefined) throw wrong('next', 'says that this is a page: join them all')
  const refs = refsOf(fields['data'])
  const like = { length: refs.length, of: 'data' }
  const sizes = listOf(fields['sizes'], 'sizes', like, (size) => countOf(size, blobSizeMax))
  const more = listOf(fields['more'], 'more', like, flagOf)
  const base = baseOf(fields)
  if (more && !more.includes(true)) throw wrong('more', 'is left out where it is never true')
  const totals = totalsOf(fields, '')
  const attrs = attrsOf(fields['attrs'], ['contentType', 'sealed'])
  const count = (base?.count ?? 0) + refs.length
  if (totals.count !== undefined && totals.count !== count) {
    throw wrong('count', `is that of the refs, ${count}`)
  }
  if (count === 1 && more) throw wrong('more', 'of a lone blob means nothing')
  return { type: 'log', refs, sizes, more, attrs, base, ...totals }
}

function baseOf(fields: Fields): RawLog['base'] {
  const { base: input, ref } = fields
  if (input === undefined) {
    if (ref !== undefined) throw wrong('ref', 'goes with a base')
    return undefined
  }
  const { count, size } = totalsOf(fieldsOf(input, 'base', ['count', 'size']), 'base.')
  if (!count) throw wrong('base.count', 'is 1 or more')
  if (size === undefined) throw wrong('base.size', 'is a whole number, 0 or more')
  if (typeof ref !== 'string' || !isBlobref(ref)) {
    throw wrong('ref', 'of a trimmed log is the ref of its array')
  }
  for (const name of ['count', 'size']) {
    if (fields[name] === undefined) throw wrong(name, 'is needed beside a base')
  }
  return { count, size, ref }
}

function refsOf(input: unknown): readonly Blobref[] {
  if (!Array.isArray(input)) throw wrong('data', 'is an array of refs')
  if (input.length > treeobjRefsMax) {
    throw new TailraceError(
      'E2BIG',
      `treeobj.data has at most ${treeobjRefsMax} refs: copy the log`,
    )
  }
  return input.map((ref, index) => {
    if (typeof ref === 'string' && isBlobref(ref)) return ref
    throw wrong(`data[${index}]`, 'is "blake3-" and 64 lower-case hex digits')
  })
}

function attrsOf(input: unknown, names: readonly string[]): Attrs | undefined {
  if (input === undefined) return undefined
  const { contentType, sealed } = fieldsOf(input, 'attrs', names)
  if (sealed !== undefined && sealed !== true) throw wrong('attrs.sealed', 'is true, or left out')
  if (contentType === undefined) {
    if (!sealed) throw wrong('attrs', 'is left out where it is empty')
    return { sealed }
  }
  // The rule of a put: a content type goes into a header.
  if (typeof contentType !== 'string' || !/^[\x20-\x7e]{1,255}$/.test(contentType)) {
    throw wrong('attrs.contentType', 'is 1 to 255 visible ASCII characters')
  }
  return { contentType, ...(sealed && { sealed }) }
}

function totalsOf(fields: Fields, prefix: string) {
  const { count, size } = fields
  const of = (name: string, value: unknown) => {
    if (value === undefined) return undefined
    const total = countOf(value, Number.MAX_SAFE_INTEGER)
    if (total === undefined) throw wrong(prefix + name, 'is a whole number, 0 or more')
    return total
  }
  return { count: of('count', count), size: of('size', size) }
}

/** Parses an array of the length of another field. `read` returns undefined for an item that is not
 *  allowed. Throws EINVAL. */
function listOf<T>(
  input: unknown,
  name: string,
  like: { readonly length: number; readonly of: string },
  read: (item: unknown) => T | undefined,
): readonly T[] | undefined {
  if (input === undefined) return undefined
  if (!Array.isArray(input) || input.length !== like.length) {
    throw wrong(name, `is an array as long as ${like.of}`)
  }
  return input.map((item, index) => {
    const value = read(item)
    if (value === undefined) throw wrong(`${name}[${index}]`, 'is not what it should be')
    return value
  })
}

function countOf(input: unknown, max: number): number | undefined {
  const count = typeof input === 'bigint' ? Number(input) : input
  if (typeof count !== 'number' || !Number.isSafeInteger(count)) return undefined
  return count >= 0 && count <= max ? count : undefined
}

function flagOf(input: unknown): boolean | undefined {
  return typeof input === 'boolean' ? input : undefined
}

/** Returns the fields of an object. Throws EINVAL if it is none, or has a field that is
 *  not in `names`. */
function fieldsOf(input: unknown, what: string, names?: readonly string[]): Fields {
  const plain = typeof input === 'object' && input !== null && !Array.isArray(input)
  if (!plain || input instanceof Uint8Array) {
    throw wrong(what, 'is an object')
  }
  const stray = names && Object.keys(input).find((name) => !names.includes(name))
  if (stray === undefined) return input as Fields
  throw wrong(what === '' ? stray : `${what}.${stray}`, 'is not known here: see rfc/18, rule 7')
}

function wrong(field: string, what: string, cause?: unknown): TailraceError {
  const name = field === '' ? 'treeobj' : `treeobj.${field}`
  return new TailraceError('EINVAL', `${name} ${what}`, { cause })
}

/** The treeobj of an op, on its way from the parser to the draft. */
export type TreeobjContent =
  /** The parsed treeobj, before its check. */
  | { readonly kind: 'raw'; readonly raw: RawTreeobj; readonly dangling: boolean }
  /** A checked treeobj: all that it names is stored, or may be missing. */
  | { readonly kind: 'treeobj'; readonly treeobj: Treeobj }
  /** The checked blobs of a log, whose array the draft is to make. */
  | {
      readonly kind: 'blobs'
      readonly blobs: readonly ArrayBlob[]
      readonly attrs: Attrs | undefined
    }

/** The op, parsed. */
export type TreeobjOp = {
  readonly op: 'treeobj'
  readonly key: Key
  readonly content: TreeobjContent
}

/** Checks the fields of an op. Throws EINVAL, E2BIG. */
export function prepareTreeobj(op: Extract<Op, { op: 'treeobj' }>): TreeobjOp {
  const { key, treeobj, dangling = false } = op
  const content = { kind: 'raw', raw: parseTreeobj(treeobj), dangling } as const
  return { op: 'treeobj', key: parseKey(key), content }
}

/** Puts a treeobj to a key. REQUIRES: `checkTreeobjs` has checked it. Throws EISDIR,
 *  ENOTDIR, ELOOP, EPERM. */
export async function putTreeobj(group: DraftGroup, op: TreeobjOp, work: Work): Promise<void> {
  const place = await clear(group, op.key, work, { replace: false })
  const treeobj = treeobjOf(group, op.content)
  set(group, place, treeobj, work)
  work.results.push({ ref: refOf(treeobj) })
}

function treeobjOf(group: DraftGroup, content: TreeobjContent): Treeobj {
  assert(content.kind !== 'raw', 'a treeobj was checked before it is applied')
  if (content.kind === 'treeobj') return content.treeobj
  let array = emptyArray
  for (const blob of content.blobs) array = pushBlob(group.writer, array, blob)
  return closeArray(group.writer, array, content.attrs)
}
