/** Lines from a socket whose other end may die at any time, between a worker and its guard. See rfc/25,
 *  rule 11.
 *  Invariant: an error of the socket, which its owner hears of, is none of the lines: of what was sent
 *  before, whole lines are told. */

import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'

/** Tells each line of a socket. */
export function hearLines(socket: Readable, hear: (line: string) => void): void {
  const lines = createInterface({ input: socket })
  lines.on('line', hear)
  // The interface emits the errors of its input once more.
  lines.on('error', () => {})
}
