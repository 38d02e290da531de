/** Ops and guards of a transaction as they come over the wire. See rfc/12.
 *  Invariant: what leaves here has the shape of transaction/operation.ts; keys, refs and bounds are still the
 *  kvs's to check. */

import type { Cap, Guard, LeaseAction, Op, Producer, Source, Token } from '../api/transaction.js'
import { decodeBase64 } from '../blob/base64.js'
import { isCode } from '../error.js'
import { base64Of, encodeText } from './bytes.js'
import {
  type Fields,
  invalid,
  optional,
  parseFields,
  parseFlag,
  parseInteger,
  parseText,
} from './parse.js'
import { tokenOfText } from './token.js'

/** Bytes of a content type. */
export const contentTypeSizeMax = 255

const sourceFields = ['op', 'key', 'from', 'namespace', 'at']
const opFields: Readonly<Record<Op['op'], ReadonlySet<string>>> = {
  put: new Set(['op', 'key', 'value', 'contentType', 'ttl', 'sliding', 'cap']),
  append: new Set(['op', 'key', 'value', 'seal', 'producer', 'ttl', 'sliding', 'cap']),
  seal: new Set(['op', 'key']),
  trim: new Set(['op', 'key', 'before', 'keep', 'keepBytes', 'olderThan']),
  unlink: new Set(['op', 'key', 'recursive']),
  mkdir: new Set(['op', 'key']),
  symlink: new Set(['op', 'key', 'target', 'namespace']),
  copy: new Set([...sourceFields, 'replace']),
  move: new Set(['op', 'key', 'from', 'namespace', 'replace']),
  fork: new Set([...sourceFields, 'count']),
  restore: new Set(['op', 'key', 'at']),
  treeobj: new Set(['op', 'key', 'treeobj', 'dangling']),
  lease: new Set(['op', 'key', 'action', 'ttl', 'owner', 'token']),
}
const capFields = new Set(['keep', 'keepBytes', 'keepAge'])
const producerFields = new Set(['id', 'epoch', 'seq'])
const tokenFields = new Set(['incarnation', 'seq'])
const guardFields = new Set([
  ...['key', 'absent', 'ref', 'count', 'seq'],
  ...['lease', 'token', 'producer', 'epoch', 'next'],
])
const guardConditions = ['absent', 'ref', 'count', 'seq', 'lease', 'producer'] as const
const trimConditions = ['before', 'keep', 'keepBytes', 'olderThan'] as const

/** Text, `{base64}` or bytes, as bytes. Throws EINVAL. */
export function parseValue(input: unknown, what: string): Uint8Array {
  if (typeof input === 'string') return encodeText(input)
  if (input instanceof Uint8Array) return input
  const base64 = typeof input === 'object' && input !== null ? base64Of(input) : undefined
  if (base64 === undefined) throw invalid(`${what} must be text, bytes, or {"base64": "…"}`)
  try {
    return decodeBase64(base64)
  } catch (error) {
    throw isCode(error, 'EINVAL') ? invalid(`${what}: ${error.message}`) : error
  }
}

/** Visible ASCII, as it goes into a header. Throws EINVAL. */
export function parseContentType(input: unknown, what = 'contentType'): string {
  const text = parseText(input, what)
  if (text.length > contentTypeSizeMax || !/^[\x20-\x7e]+$/.test(text)) {
    throw invalid(`${what} must be 1 to ${contentTypeSizeMax} characters of visible ASCII`)
  }
  return text
}

/** As an object, or as text. Throws EINVAL. */
export function parseToken(input: unknown, what: string): Token {
  if (typeof input === 'string') {
    const token = tokenOfText(input)
    if (token) return token
    throw invalid(`${what} must be INCARNATION:SEQ, or {"incarnation", "seq"}`)
  }
  const fields = parseFields(input, what, tokenFields)
  return {
    incarnation: parseText(fields['incarnation'], `${what}.incarnation`),
    seq: parseInteger(fields['seq'], `${what}.seq`),
  }
}

/** Throws EINVAL. */
export function parseCap(input: unknown, what: string): Cap {
  const fields = parseFields(input, what, capFields)
  return {
    ...optional('keep', fields, what, parseInteger),
    ...optional('keepBytes', fields, what, parseInteger),
    ...optional('keepAge', fields, what, parseInteger),
  }
}

/** A seq or a ref. Throws EINVAL. */
export function parseAt(input: unknown, what: string): number | string {
  return typeof input === 'string' ? input : parseInteger(input, what)
}

/** Throws EINVAL. */
export function parseOp(input: unknown, index: number): Op {
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
        ...withLife(fields, what),
      }
    case 'append':
      return {
        op,
        key,
        ...withValue(fields, what),
        ...optional('seal', fields, what, parseFlag),
        ...optional('producer', fields, what, parseProducer),
        ...withLife(fields, what),
      }
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
    case 'trim':
      return { op, key, ...withTrim(fields, what) }
    case 'copy':
      return {
        op,
        key,
        ...withSource(fields, what),
        ...optional('replace', fields, what, parseFlag),
      }
    case 'move': {
      const { from, namespace } = withSource(fields, what)
      const named = namespace === undefined ? {} : { namespace }
      return { op, key, from, ...named, ...optional('replace', fields, what, parseFlag) }
    }
    case 'fork':
      return {
        op,
        key,
        ...withSource(fields, what),
        count: parseInteger(fields['count'], `${what}.count`),
      }
    case 'restore':
      return { op, key, at: parseAt(fields['at'], `${what}.at`) }
    case 'treeobj':
      if (fields['treeobj'] === undefined) throw invalid(`${what}.treeobj is missing`)
      return {
        op,
        key,
        treeobj: fields['treeobj'],
        ...optional('dangling', fields, what, parseFlag),
      }
    case 'lease':
      return { op, key, ...withLease(fields, what) }
    default:
      return op satisfies never
  }
}

/** Throws EINVAL. */
export function parseGuard(input: unknown, index: number): Guard {
  const what = `guards[${index}]`
  const fields = parseFields(input, what, guardFields)
  const [condition, ...others] = guardConditions.filter((name) => fields[name] !== undefined)
  if (condition === undefined || others.length > 0) {
    throw invalid(`${what} must have exactly one of ${guardConditions.join(', ')}`)
  }
  const allowed: ReadonlySet<string> = new Set(fieldsOfGuard[condition])
  const stray = Object.keys(fields).find((name) => !allowed.has(name))
  if (stray !== undefined) throw invalid(`${what}.${stray} means nothing beside ${condition}`)
  if (condition === 'seq') return { seq: parseInteger(fields['seq'], `${what}.seq`) }
  if (condition === 'lease') {
    const lease = parseText(fields['lease'], `${what}.lease`)
    return { lease, token: parseToken(fields['token'], `${what}.token`) }
  }
  const key = parseText(fields['key'], `${what}.key`)
  switch (condition) {
    case 'absent':
      if (fields['absent'] !== true) throw invalid(`${what}.absent must be true`)
      return { key, absent: true }
    case 'ref':
      return { key, ref: parseText(fields['ref'], `${what}.ref`) }
    case 'count':
      return { key, count: parseInteger(fields['count'], `${what}.count`) }
    case 'producer':
      return {
        key,
        producer: parseText(fields['producer'], `${what}.producer`),
        epoch: parseInteger(fields['epoch'], `${what}.epoch`),
        next: parseInteger(fields['next'], `${what}.next`),
      }
    default:
      return condition satisfies never
  }
}

const fieldsOfGuard: Readonly<Record<(typeof guardConditions)[number], readonly string[]>> = {
  absent: ['key', 'absent'],
  ref: ['key', 'ref'],
  count: ['key', 'count'],
  seq: ['seq'],
  lease: ['lease', 'token'],
  producer: ['key', 'producer', 'epoch', 'next'],
}

function parseOpName(input: unknown, what: string): Op['op'] {
  if (typeof input === 'string' && Object.hasOwn(opFields, input)) return input as Op['op']
  const names = Object.keys(opFields).join(', ')
  throw invalid(`${what}.op must be one of ${names}`)
}

function withValue(fields: Fields, what: string): { readonly value: Uint8Array } {
  return { value: parseValue(fields['value'], `${what}.value`) }
}

function withLife(fields: Fields, what: string) {
  return {
    ...optional('ttl', fields, what, parseInteger),
    ...optional('sliding', fields, what, parseFlag),
    ...optional('cap', fields, what, (input, name) =>
      input === null ? null : parseCap(input, name),
    ),
  }
}

function parseProducer(input: unknown, what: string): Producer {
  const fields = parseFields(input, what, producerFields)
  return {
    id: parseText(fields['id'], `${what}.id`),
    epoch: parseInteger(fields['epoch'], `${what}.epoch`),
    seq: parseInteger(fields['seq'], `${what}.seq`),
  }
}

function withTrim(fields: Fields, what: string) {
  const [condition, ...others] = trimConditions.filter((name) => fields[name] !== undefined)
  if (condition === undefined || others.length > 0) {
    throw invalid(`${what} must have exactly one of ${trimConditions.join(', ')}`)
  }
  const bound = parseInteger(fields[condition], `${what}.${condition}`)
  switch (condition) {
    case 'before':
      return { before: bound }
    case 'keep':
      return { keep: bound }
    case 'keepBytes':
      return { keepBytes: bound }
    case 'olderThan':
      return { olderThan: bound }
    default:
      return condition satisfies never
  }
}

function withSource(fields: Fields, what: string): Source {
  return {
    from: parseText(fields['from'], `${what}.from`),
    ...optional('namespace', fields, what, parseText),
    ...optional('at', fields, what, parseAt),
  }
}

function withLease(fields: Fields, what: string): LeaseAction {
  const { action, ttl, token, owner } = fields
  switch (action) {
    case 'take':
      if (token !== undefined) throw invalid(`${what}.token: a lease that is taken has none yet`)
      return {
        action,
        ttl: parseInteger(ttl, `${what}.ttl`),
        ...optional('owner', fields, what, parseText),
      }
    case 'renew':
    case 'release':
      if (owner !== undefined) throw invalid(`${what}.owner goes with take`)
      if (action === 'release') {
        if (ttl !== undefined) throw invalid(`${what}.ttl goes with take and renew`)
        return { action, token: parseToken(token, `${what}.token`) }
      }
      return {
        action,
        token: parseToken(token, `${what}.token`),
        ...optional('ttl', fields, what, parseInteger),
      }
    default:
      throw invalid(`${what}.action must be one of take, renew, release`)
  }
}
