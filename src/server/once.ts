/** The headers of a request that is done once, however often it is sent: `Idempotency-Key`, and `Producer-Id`,
 *  `Producer-Epoch`, `Producer-Seq` of an append. See rfc/12, rule 20. Pure. */

import type { Producer } from '../api/transaction.js'
import { invalid } from '../base/shape.js'
import { fromHeader } from '../wire/headers.js'
import type { Request } from './app.js'
import { arePlain, type Conditions } from './etag.js'

/** Throws EINVAL, also beside conditions that a second look may judge otherwise. */
export function idempotencyOf(
  request: Request,
  conditions: Conditions = {},
): { readonly idempotencyKey?: string } {
  const idempotencyKey = textOf(request, 'idempotency-key')
  if (idempotencyKey === undefined) return {}
  if (!arePlain(conditions)) {
    throw invalid('with Idempotency-Key, If-Match is one ETag and If-None-Match is *')
  }
  return { idempotencyKey }
}

/** Throws EINVAL where they are not all there. */
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
