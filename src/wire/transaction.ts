/** A transaction as it comes over the wire, from JSON or from msgpack. See rfc/12.
 *  Invariant: what leaves here has the shape of kvs/kvs.ts and its bounds; keys and refs are still
 *  the kvs's to check. */

import { decodeBase64 } from '../blob/base64.js'
import { TailraceError } from '../error.js'
import {
  type Guard,
  guardsMax,
  type Op,
  opsMax,
  type Transaction,
  transactionSizeMax,
} from '../kvs/kvs.js'
import { base64Of, encodeText } from './bytes.js'
import {
  type Fields,
  invalid,
  optional,
  parseArray,
  parseFields,
  parseFlag,
  parseInteger,
  parseText,
} from './parse.js'

/** Bytes of a content type. */
export const contentTypeSizeMax = 255

const transactionFields = new Set(['guards', 'ops', 'noMerge'])
const guardFields = new Set(['key', 'absent', 'ref', 'count', 'seq'])
const opFields: Readonly<Record<Op['op'], ReadonlySet<string>>> = {
  put: new Set(['op', 'key', 'value', 'contentType']),
  append: new Set(['op', 'key', 'value', 'seal']),
  seal: new Set(['op', 'key']),
  unlink: new Set(['op', 'key', 'recursive']),
  mkdir: new Set(['op', 'key']),
  symlink: new Set(['op', 'key', 'target', 'namespace']),
}

/** Throws EINVAL, E2BIG (more than `opsMax`, `guardsMax`, `transactionSizeMax`). */
export function parseTransaction(input: unknown): Transaction {
  const fields = parseFields(input, 'transaction', transactionFields)
  const ops = parseArray(fields['ops'], 'ops')
  const guards = fields['guards'] === undefined ? [] : parseArray(fields['guards'], 'guards')
  if (ops.length > opsMax) throw tooBig(`a transaction has at most ${opsMax} ops`)
  if (guards.length > guardsMax) throw tooBig(`a transaction has at most ${guardsMax} guards`)
  const parsed = ops.map(parseOp)
  if (sizeOf(parsed) > transactionSizeMax) {
    throw tooBig(
      `the values of a transaction have at most ${transactionSizeMax} bytes; PUT streams`,
    )
  }
  return {
    ...(fields['guards'] === undefined ? {} : { guards: guards.map(parseGuard) }),
    ops: parsed,
    ...optional('noMerge', fields, 'transaction', parseFlag),
  }
}

/** Text, `{base64}` or bytes, as bytes. Throws EINVAL. */
export function parseValue(input: unknown, what: string): Uint8Array {
  if (typeof input === 'string') return encodeText(input)
  if (input instanceof Uint8Array) return input
  const base64 = typeof input === 'object' && input !== null ? base64Of(input) : undefined
  if (base64 === undefined) throw invalid(`${what} must be text, bytes, or {"base64": "…"}`)
  return decodeBase64(base64)
}

/** Visible ASCII, as it goes into a header. Throws EINVAL. */
export function parseContentType(input: unknown, what = 'contentType'): string {
  const text = parseText(input, what)
  if (text.length > contentTypeSizeMax || !/^[\x20-\x7e]+$/.test(text)) {
    throw invalid(`${what} must be 1 to ${contentTypeSizeMax} characters of visible ASCII`)
  }
  return text
}

function parseOp(input: unknown, index: number): Op {
  const what = `ops[${index}]`
  const op = parseOpName(parseFields(input, what)['op'], what)
  const fields = parseFields(input, what, opFields[op])
  const key = parseText(fields['key'], `${what}.key`)
  switch (op) {
    case 'put':
      return {
        op,
        key,
        ...withValue(fields, what),
        ...optional('contentType', fields, what, parseContentType),
      }
    case 'append':
      return { op, key, ...withValue(fields, what), ...optional('seal', fields, what, parseFlag) }
    case 'unlink':
      return { op, key, ...optional('recursive', fields, what, parseFlag) }
    case 'symlink':
      return {
        op,
        key,
        target: parseText(fields['target'], `${what}.target`),
        ...optional('namespace', fields, what, parseText),
      }
    case 'seal':
    case 'mkdir':
      return { op, key }
    default:
      return op satisfies never
  }
}

function parseOpName(input: unknown, what: string): Op['op'] {
  if (typeof input === 'string' && Object.hasOwn(opFields, input)) return input as Op['op']
  const names = Object.keys(opFields).join(', ')
  throw invalid(`${what}.op must be one of ${names}`)
}

function withValue(fields: Fields, what: string): { readonly value: Uint8Array } {
  return { value: parseValue(fields['value'], `${what}.value`) }
}

function parseGuard(input: unknown, index: number): Guard {
  const what = `guards[${index}]`
  const fields = parseFields(input, what, guardFields)
  const { key, absent, ref, count, seq } = fields
  const conditions = [absent, ref, count, seq].filter((condition) => condition !== undefined)
  if (conditions.length !== 1) {
    throw invalid(`${what} must have exactly one of absent, ref, count and seq`)
  }
  if (seq !== undefined) {
    if (key !== undefined) throw invalid(`${what}: seq is the namespace's and goes without key`)
    return { seq: parseInteger(seq, `${what}.seq`) }
  }
  const name = parseText(key, `${what}.key`)
  if (ref !== undefined) return { key: name, ref: parseText(ref, `${what}.ref`) }
  if (count !== undefined) return { key: name, count: parseInteger(count, `${what}.count`) }
  if (absent !== true) throw invalid(`${what}.absent must be true`)
  return { key: name, absent }
}

function sizeOf(ops: readonly Op[]): number {
  return ops.reduce((sum, op) => sum + ('value' in op ? op.value.length : 0), 0)
}

function tooBig(message: string): TailraceError {
  return new TailraceError('E2BIG', message)
}
