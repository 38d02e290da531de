/** Several keys at once: `POST /v1/txn` and `POST /v1/read`, over HTTP and over the websocket. See
 *  rfc/12. */

import type { Transaction } from '../api/transaction.js'
import { LoopSlice } from '../base/loop-slice.js'
import { parseReadBody, type ReadBody } from '../wire/requests.js'
import { parseTransaction } from '../wire/transaction.js'
import type { App } from './app.js'
import { readJsonBody } from './body.js'
import type { Context } from './context.js'
import { refuseGuards } from './etag.js'
import { idempotencyOf, refuseProducer } from './once.js'
import { checkWritable, namespaceOf, queryOf } from './query.js'
import { admitted, checkOwner } from './rights.js'
import { signalOf } from './stream.js'

export type Values = {
  readonly seq: number
  readonly values: readonly (Uint8Array | null)[]
}

export function serveTransactions(app: App, context: Context): void {
  app.post('/v1/txn', async (request) => {
    queryOf(request, {})
    refuseProducer(request)
    refuseGuards(request)
    const once = idempotencyOf(request)
    const namespace = namespaceOf(request)
    const body = await readJsonBody(request)
    const slice = new LoopSlice()
    const transaction = transactionOf(namespace, body)
    if (slice.over) await slice.turn()
    return context.store.commit(transaction, { namespace, ...once })
  })
  app.post('/v1/read', async (request, reply) => {
    queryOf(request, {})
    const namespace = namespaceOf(request)
    const body = parseReadBody(await readJsonBody(request))
    const signal = body.minSeq === undefined ? undefined : signalOf(context.activity, reply)
    return read(context, namespace, body, signal)
  })
}

/** The transaction that a body asks for. Throws EPERM (reserved), EINVAL, E2BIG. */
export function transactionOf(namespace: string, body: unknown): Transaction {
  checkWritable(namespace)
  const transaction = parseTransaction(body)
  const dangles = transaction.ops.some((op) => op.op === 'treeobj' && op.dangling)
  if (dangles) checkOwner(admitted, 'store a treeobj that dangles')
  return transaction
}

/** Throws what `Kvs.readMany` throws. */
export async function read(
  context: Context,
  namespace: string,
  body: ReadBody,
  signal: AbortSignal | undefined,
): Promise<Values> {
  const { keys, ...rest } = body
  const scope = { namespace, ...rest, ...(signal ? { signal } : {}) }
  const { seq, values } = await context.store.readMany(keys, scope)
  return { seq, values: values.map((value) => value ?? null) }
}
