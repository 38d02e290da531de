/** Reads that look first, and then read at the root that they saw. See rfc/10.
 *  Invariant: nothing is read at two roots: where the root of the look has gone meanwhile all begins anew. */

import { isCode } from '../error.js'

/** Looks whose root was not retained any more when it was to be read. */
export const rootTriesMax = 16

/** Runs `read`, which looks and reads at the root that it saw. Throws ECOMPACTED where the roots go faster
 *  than they are read. */
export async function atOneRoot<T>(read: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await read()
    } catch (error) {
      if (!isCode(error, 'ECOMPACTED') || tries === rootTriesMax) throw error
    }
  }
}
