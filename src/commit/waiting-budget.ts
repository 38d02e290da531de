/** The memory of all transactions that wait for a commit group, in all namespaces of a store together.
 *  See rfc/6, rule 14.
 *  Invariant: no more than `waitingSumMax` bytes wait, besides the last transaction of each namespace.
 *  A namespace in which nothing waits is never refused because of others. */

import { waitingMax, waitingSizeMax } from '../api/transaction.js'
import type { Prepared } from '../transaction/apply.js'

/** The cost of a transaction that waits besides its values and names, in bytes: its objects, and the
 *  request that waits for its answer. */
export const transactionCost = waitingSizeMax / waitingMax
/** The cost of an op or a guard besides its value and the names in its key, in bytes. */
const partCost = 256
/** The largest size of all that waits in all namespaces together, in bytes. */
export const waitingSumMax = 2 * waitingSizeMax

/** The budget of one store. Mutable; shared by its commit loops. */
export class WaitingBudget {
  #size = 0

  /** Returns true if a namespace in which `own` bytes wait may have one transaction more. One that has
   *  more than are free gets no more, so that some are left for other namespaces (dynamic thresholds:
   *  Choudhury, Hahne, INFOCOM 1996). A namespace that is alone gets `waitingSizeMax`; one in which
   *  nothing waits gets one transaction always. */
  admits(own: number): boolean {
    return own === 0 || own <= waitingSumMax - this.#size
  }

  /** Adds `by` bytes; negative if transactions have left their queue. */
  change(by: number): void {
    this.#size += by
  }
}

/** Returns the memory that a transaction takes while it waits, in bytes. */
export function waitingSizeOf({ size, ops, guards }: Prepared): number {
  return size + transactionCost + (ops.length + guards.length) * partCost
}
