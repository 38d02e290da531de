/** The headers of a request that takes effect once, however often it is sent: `Idempotency-Key` and
 *  `Idempotency-Since`, and for an append `Producer-Id`, `Producer-Epoch` and `Producer-Seq`. See rfc/12, rule 20.
 *  Pure. */

import type { CommitOptions } from '../api/kvs.js'
import type { Producer } from '../api/transaction.js'
import { invalid } from '../base/shape.js'
import { fromHeader } from '../wire/headers.js'
import type { Request } from './app.js'
import { arePlain, type Conditions } from './etag.js'

/** The idempotency key of a request, and the seq from before it was first sent. */
export type Idempotency = Pick<CommitOptions, 'idempotencyKey' | 'idempotencySince'>

/** Returns the idempotency key of a request, if it has one. Throws EINVAL, also if the conditions
 *  beside it are not plain guards: a repeat may judge them otherwise. */
export function idempotencyOf(request: Request, conditions: Conditions = {}): Idempotency {
  const idempotencyKey = textOf(request, 'idempotency-key')
  const idempotencySince = integerOf(request, 'idempotency-since')
  if (idempotencyKey === undefined) {
    if (idempotencySince === undefined) return {}
    throw invalid('Idempotency-Since means nothing without Idempotency-Key')
  }
  if (!arePlain(conditions)) {
    throw invalid('with Idempotency-Key, If-Match is one ETag and If-None-Match is *')
  }
  return idempotencySince === undefined ? { idempotencyKey } : { idempotencyKey, idempotencySince }
}

/** Returns the producer of an append, if it has one. Throws EINVAL, also if one of the three
 *  headers is missing. */
export function producerOf(request: Request): { readonly producer?: Producer } {
  const id = textOf(request, 'producer-id')
  const epoch = integerOf(request, 'producer-epoch')
  const seq = integerOf(request, 'producer-seq')
  if (id === undefined && epoch === undefined && seq === undefined) return {}
  if (id === undefined || epoch === undefined || seq === undefined) {
    throw invalid('Producer-Id, Producer-Epoch and Producer-Seq go together')
  }
  return { producer: { id, epoch, seq } }
}

function textOf(request: Request, name: string): string | undefined {
  const value = request.headers[name]
  return typeof value === 'string' ? fromHeader(name, value) : undefined
}

function integerOf(request: Request, name: string): number | undefined {
  const text = textOf(request, name)
  if (text === undefined) return undefined
  const value = Number(text)
  if (/^[0-9]{1,16}$/.test(text) && Number.isSafeInteger(value)) return value
  throw invalid(`${name} must be an integer of at least 0`)
}
