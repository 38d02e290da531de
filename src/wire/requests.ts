/** What a server is asked, over HTTP and over the websocket, read once. See rfc/12.
 *  Invariant: what leaves here has its type's shape; unknown fields and ops were EINVAL. */

import { readKeysMax } from '../api/kvs.js'
import type { From } from '../api/watch.js'
import { parseBlobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import type { Request } from './frames.js'
import { parseAt } from './op.js'
import {
  type Fields,
  invalid,
  optional,
  parseFields,
  parseFlag,
  parseInteger,
  parseText,
  parseTexts,
} from './parse.js'

const requestFields: Readonly<Record<Request['op'], ReadonlySet<string>>> = {
  auth: new Set(['id', 'op', 'token']),
  watch: new Set([
    'id',
    'op',
    'key',
    'namespace',
    'mode',
    'from',
    'waitCreate',
    'uniq',
    'lease',
    'credit',
  ]),
  credit: new Set(['id', 'op', 'bytes']),
  cancel: new Set(['id', 'op']),
  txn: new Set(['id', 'op', 'namespace', 'body', 'idempotencyKey']),
  read: new Set(['id', 'op', 'namespace', 'body']),
  root: new Set(['id', 'op', 'namespace', 'body']),
}
const positionFields = new Set(['incarnation', 'index', 'prefix'])
const offsetFields = new Set(['offset'])
const readFields = new Set(['keys', 'at', 'minSeq'])
const rootFields = new Set(['waitSeq'])

/** One frame from a client. Ids count from 1. Throws EINVAL. */
export function parseRequest(input: unknown): Request {
  const op = parseOpName(parseFields(input, 'frame')['op'])
  const fields = parseFields(input, op, requestFields[op])
  const id = parseInteger(fields['id'], `${op}.id`, 1)
  switch (op) {
    case 'auth':
      return { id, op, token: parseText(fields['token'], 'auth.token') }
    case 'watch':
      checkMode(fields)
      return {
        id,
        op,
        key: parseText(fields['key'], 'watch.key'),
        mode: parseMode(fields['mode']),
        ...optional('namespace', fields, op, parseText),
        ...optional('from', fields, op, parseFrom),
        ...optional('waitCreate', fields, op, parseFlag),
        ...optional('uniq', fields, op, parseFlag),
        ...optional('lease', fields, op, parseFlag),
        ...optional('credit', fields, op, parseInteger),
      }
    case 'credit':
      return { id, op, bytes: parseInteger(fields['bytes'], 'credit.bytes') }
    case 'cancel':
      return { id, op }
    case 'txn':
    case 'read':
    case 'root':
      return {
        id,
        op,
        ...optional('namespace', fields, op, parseText),
        body: fields['body'],
        ...optional('idempotencyKey', fields, op, parseText),
      }
    default:
      return op satisfies never
  }
}

/** The id of a frame, to answer it though it could not be read: 0 where it has none. */
export function requestIdOf(input: unknown): number {
  const id = typeof input === 'object' && input !== null ? (input as Fields)['id'] : undefined
  return typeof id === 'number' && Number.isSafeInteger(id) && id > 0 ? id : 0
}

/** Throws EINVAL. */
export function parseFrom(input: unknown, what = 'from'): From {
  if (typeof input === 'number' || typeof input === 'bigint') {
    return parseInteger(input, what, Number.MIN_SAFE_INTEGER)
  }
  const fields = parseFields(input, what)
  if (fields['offset'] !== undefined) {
    return {
      offset: parseInteger(parseFields(input, what, offsetFields)['offset'], `${what}.offset`),
    }
  }
  parseFields(input, what, positionFields)
  return {
    incarnation: parseText(fields['incarnation'], `${what}.incarnation`),
    index: parseInteger(fields['index'], `${what}.index`),
    prefix: parseBlobref(fields['prefix']),
  }
}

export type ReadBody = {
  readonly keys: readonly string[]
  readonly at?: number | string
  readonly minSeq?: number
}

/** Throws EINVAL, E2BIG. */
export function parseReadBody(input: unknown): ReadBody {
  const fields = parseFields(input, 'read', readFields)
  const keys = parseTexts(fields['keys'], 'keys')
  if (keys.length > readKeysMax) {
    throw new TailraceError('E2BIG', `at most ${readKeysMax} keys are read at once`)
  }
  return {
    keys,
    ...optional('at', fields, 'read', parseAt),
    ...optional('minSeq', fields, 'read', parseInteger),
  }
}

/** Throws EINVAL. */
export function parseRootBody(input: unknown): { readonly waitSeq?: number } {
  if (input === undefined) return {}
  return optional('waitSeq', parseFields(input, 'root', rootFields), 'root', parseInteger)
}

/** Refuses fields that mean nothing in the mode. Throws EINVAL. */
function checkMode(fields: Fields): void {
  const mode = parseMode(fields['mode'])
  const strange = mode === 'value' ? ['from'] : ['uniq', 'lease']
  const given = strange.find((name) => fields[name] !== undefined)
  if (given === undefined) return
  throw invalid(`watch.${given} means nothing in mode ${mode}`)
}

function parseMode(input: unknown): 'append' | 'value' {
  if (input === 'append' || input === 'value') return input
  throw invalid('watch.mode must be append or value')
}

function parseOpName(input: unknown): Request['op'] {
  if (typeof input === 'string' && Object.hasOwn(requestFields, input))
    return input as Request['op']
  throw invalid(`op must be one of ${Object.keys(requestFields).join(', ')}`)
}
