/** `tailrace txn`: a transaction as JSON, from a file or stdin. See rfc/6 for what it may hold and
 *  rfc/12 for its JSON. */

import { parseJson } from '../base/json.js'
import { toTailraceError } from '../error.js'
import { errorBodyOf } from '../wire/status.js'
import { parseTransaction } from '../wire/transaction.js'
import { defined, type Invocation, UsageError } from './invocation.js'
import { leaseGuards } from './lease-guard.js'
import { onceOf } from './once.js'
import { withStore } from './session.js'
import { fileChunks, readAll, stdinChunks } from './stdin.js'

/** Bytes of the JSON (values in base64 are a third longer). */
const textSizeMax = 12 * 1024 * 1024

/** Prints what was committed as JSON; a refusal too, where `--json` asks for it. */
export async function txn(invocation: Invocation): Promise<number> {
  const file = invocation.arguments[0] ?? '-'
  if (file === '-' && process.stdin.isTTY) {
    throw new UsageError('txn reads JSON from stdin: pipe it in, or name a file')
  }
  const chunks = file === '-' ? stdinChunks() : await fileChunks(file)
  const text = await readAll(chunks, textSizeMax, 'split it, or put large values one by one')
  const parsed = parseTransaction(parseJson(text, 'the transaction'))
  const guards = [...(parsed.guards ?? []), ...leaseGuards(invocation)]
  const transaction = { ...parsed, guards }
  return withStore(invocation, async (store) => {
    try {
      const namespace = invocation.options.text('namespace')
      await invocation.stdout.json(
        await store.commit(transaction, { ...defined({ namespace }), ...onceOf(invocation) }),
      )
      return 0
    } catch (cause) {
      const error = toTailraceError(cause)
      if (!invocation.options.flag('json')) throw error
      await invocation.stdout.json({ error: errorBodyOf(error) })
      return 1
    }
  })
}
