/** What of an error belongs into the server's log: what the store or the program did wrong, not what
 *  a client did. See rfc/12, rule 3. */

import { TailraceError, toTailraceError } from '../error.js'
import { statusOf } from '../wire/status.js'

/** A line for the log; undefined where there is nothing to say. `where`: what was asked. */
export function faultLine(where: string, thrown: unknown): string | undefined {
  const { code, message } = toTailraceError(thrown)
  if (statusOf(code) !== 500) return undefined
  if (thrown instanceof TailraceError) return `${where}: ${code}: ${message}`
  return `${where}: ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}`
}
