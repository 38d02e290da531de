/** `tailrace lptest`: prints the ripple test. See rfc/13.
 *  Invariant: memory is bounded whatever the length and the count. */

import { type Invocation, parseInteger, UsageError } from './invocation.js'
import { Ripple } from './ripple.js'

const lengthDefault = 79
const countDefault = 200
/** Bytes of one write, at least, while more follows. */
const writeSize = 128 * 1024

export async function lptest(invocation: Invocation): Promise<undefined> {
  const [lengthText, countText] = invocation.arguments
  const length = lengthText === undefined ? lengthDefault : parseInteger('LENGTH', lengthText, 0)
  const count = countText === undefined ? countDefault : parseInteger('COUNT', countText, 0)
  if (!Number.isSafeInteger((length + 1) * count)) {
    throw new UsageError(`${count} lines of ${length} are more bytes than can be counted`)
  }
  const ripple = new Ripple(length, count)
  let small: Buffer[] = []
  let smallSize = 0
  for (const piece of ripple.pieces(0, ripple.size)) {
    if (smallSize === 0 && piece.length >= writeSize) {
      await invocation.stdout.write(piece)
      continue
    }
    small.push(piece)
    smallSize += piece.length
    if (smallSize < writeSize) continue
    await invocation.stdout.write(Buffer.concat(small))
    small = []
    smallSize = 0
  }
  if (smallSize > 0) await invocation.stdout.write(Buffer.concat(small))
  return undefined
}
