/** Files as inputs of targets: what is in them is a part of the action. See rfc/24, rule 33. */

import { createReadStream } from 'node:fs'
import { StreamHash } from '../blob/hash.js'
import { hasSystemCode, reasonOf, TailraceError } from '../error.js'

/** The size of the pieces in which a file is read. */
const pieceSize = 1024 * 1024

/** Returns the BLAKE3 of the bytes of a file, 64 hex digits. Throws ENOENT, EINVAL (it cannot be read). */
export async function hashOfFile(path: string): Promise<string> {
  using hash = new StreamHash()
  try {
    for await (const piece of createReadStream(path, { highWaterMark: pieceSize })) {
      hash.update(piece as Buffer)
    }
  } catch (error) {
    const code = hasSystemCode(error, 'ENOENT') ? 'ENOENT' : 'EINVAL'
    const message = `the file ${path}, an input of a target, cannot be read: ${reasonOf(error)}`
    throw new TailraceError(code, message, { cause: error })
  }
  return hash.digest().toString('hex')
}
