/** The token of a lease as text: INCARNATION:SEQ, as the CLI prints it and shells carry it. See rfc/9, rule 3.
 *  Pure. */

import type { Token } from '../api/transaction.js'

export function textOfToken({ incarnation, seq }: Token): string {
  return `${incarnation}:${seq}`
}

/** Undefined where the text is no token. */
export function tokenOfText(text: string): Token | undefined {
  const [, incarnation, seq] = /^([0-9a-f]+(?:\.[0-9a-f]+)?):(\d{1,15})$/.exec(text) ?? []
  return incarnation === undefined ? undefined : { incarnation, seq: Number(seq) }
}
