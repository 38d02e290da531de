/** The guard that a write of the CLI has on a lease: `--if-lease KEY`, with the token that `lease run` hands to
 *  its command. See rfc/9, rule 5. */

import type { Guard } from '../api/transaction.js'
import { tokenOfText } from '../wire/token.js'
import { type Invocation, UsageError } from './invocation.js'
import type { OptionSpec } from './program.js'

/** For all commands that write keys. */
export const ifLease: readonly OptionSpec[] = [
  { flags: '--if-lease <key>', text: "only while that key's lease is held with the token" },
  {
    flags: '--lease-token <token>',
    text: 'the token, as lease take prints it (default: $TAILRACE_LEASE)',
  },
]

/** One guard or none. Throws UsageError where the token is missing or is none. */
export function leaseGuards({ options, environment }: Invocation): readonly Guard[] {
  const lease = options.text('ifLease')
  const given = options.text('leaseToken')
  if (lease === undefined) {
    if (given === undefined) return []
    throw new UsageError('--lease-token goes with --if-lease, the key whose lease it is')
  }
  const text = given ?? environment.TAILRACE_LEASE
  if (text === undefined || text === '') {
    throw new UsageError(
      '--if-lease takes its token from --lease-token or $TAILRACE_LEASE: none is there',
    )
  }
  const token = tokenOfText(text)
  if (!token) throw new UsageError(`a token is INCARNATION:SEQ, as take prints it, not "${text}"`)
  return [{ lease, token }]
}
