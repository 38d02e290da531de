/** The text form of a lease's fencing token, INCARNATION:SEQ, which the CLI prints and reads. See
 *  rfc/9, rule 3. Pure. */

import type { Token } from '../api/transaction.js'

/** Returns the text form of a token. */
export function textOfToken({ incarnation, seq }: Token): string {
  return `${incarnation}:${seq}`
}

/** Parses the text form of a token. Returns undefined if the text is not a token. */
export function tokenOfText(text: string): Token | undefined {
  const [, incarnation, seq] = /^([0-9a-f]+(?:\.[0-9a-f]+)?):(\d{1,15})$/.exec(text) ?? []
  return incarnation === undefined ? undefined : { incarnation, seq: Number(seq) }
}
