/** `tailrace txn`: a transaction as JSON, from a file or stdin. See rfc/6 for what it may hold and
 *  rfc/12 for its JSON. */

import { parseJson } from '../base/json.js'
import { parseTransaction } from '../wire/transaction.js'
import { defined, type Invocation, isStdin, UsageError } from './invocation.js'
import { leaseGuards } from './lease-guard.js'
import { onceOf } from './once.js'
import { withStore } from './session.js'
import { fileChunks, readAll, stdinChunks } from './stdin.js'

/** Bytes of the JSON (values in base64 are a third longer). */
const textSizeMax = 12 * 1024 * 1024

/** Prints what was committed as JSON. */
export async function txn(invocation: Invocation): Promise<undefined> {
  const file = invocation.arguments[0]
  const fromStdin = file === undefined || isStdin(invocation, 0)
  if (fromStdin && process.stdin.isTTY) {
    throw new UsageError('txn reads JSON from stdin: pipe it in, or name a file')
  }
  const chunks = fromStdin ? stdinChunks() : await fileChunks(file)
  const text = await readAll(chunks, textSizeMax, 'split it, or put large values one by one')
  const parsed = parseTransaction(parseJson(text, 'the transaction'))
  const guards = [...(parsed.guards ?? []), ...leaseGuards(invocation)]
  const transaction = { ...parsed, guards }
  return withStore(invocation, async (store) => {
    const scope = defined({ namespace: invocation.options.text('namespace') })
    const committed = await store.commit(transaction, { ...scope, ...onceOf(invocation) })
    await invocation.stdout.json(committed)
    return undefined
  })
}
