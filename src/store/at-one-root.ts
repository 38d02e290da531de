/** Runs reads of several steps at one root: the first step chooses the root, the others read it.
 *  See rfc/10.
 *  Invariant: no result mixes two roots. If the chosen root is no longer retained, all steps run
 *  again. */

import { isCode } from '../error.js'

/** The largest number of runs of the steps. */
const rootTriesMax = 16

/** Runs `read`, which chooses a root and reads it, and runs it again if the root is no longer
 *  retained. Throws what `read` throws, and ECOMPACTED if roots leave the retention faster than
 *  they are read. */
export async function atOneRoot<T>(read: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await read()
    } catch (error) {
      if (!isCode(error, 'ECOMPACTED') || tries === rootTriesMax) throw error
    }
  }
}
