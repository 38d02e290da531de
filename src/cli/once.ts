/** The options of a write that is done once, however often it is sent. See rfc/6, rules 40 to 47. */

import type { CommitOptions } from '../api/kvs.js'
import type { Producer } from '../api/transaction.js'
import { defined, type Invocation, UsageError } from './invocation.js'
import type { OptionSpec } from './program.js'

/** For `put`, `append`, `rm` and `txn`. */
export const once: readonly OptionSpec[] = [
  {
    flags: '--idempotency-key <key>',
    text: 'sent again under the same key, it is answered, not done again',
  },
  { flags: '--exactly-once', text: 'send it again until it is answered; it is done once' },
]

export const producer: readonly OptionSpec[] = [
  { flags: '--producer <id>', text: 'who appends: with --epoch and --seq it is appended once' },
  { flags: '--epoch <n>', text: 'a higher one begins at seq 0 and fences the lower ones' },
  { flags: '--seq <n>', text: "counts the producer's appends to the key, from 0" },
]

export function onceOf(
  invocation: Invocation,
): Pick<CommitOptions, 'idempotencyKey' | 'exactlyOnce'> {
  const idempotencyKey = invocation.options.text('idempotencyKey')
  const exactlyOnce = invocation.options.flag('exactlyOnce') || undefined
  return defined({ idempotencyKey, exactlyOnce })
}

/** Throws UsageError where they are not all there. */
export function producerOf(invocation: Invocation): { readonly producer?: Producer } {
  const { options } = invocation
  const id = options.text('producer')
  const epoch = options.integer('epoch')
  const seq = options.integer('seq')
  if (id === undefined && epoch === undefined && seq === undefined) return {}
  if (id === undefined || epoch === undefined || seq === undefined) {
    throw new UsageError('--producer, --epoch and --seq go together')
  }
  return { producer: { id, epoch, seq } }
}
