/** What an inspection of trees found whole, so that it is not looked at again. See rfc/15.
 *  Invariant: a thing is whole only as what it was looked at as, and with what was said of it there: a blob
 *  that is named as a page, or a page with another size, is looked at anew, and told. */

import { RefSet } from '../blob/ref-set.js'

/** Mutable; owned by the inspection that fills it. */
export class Clean {
  /** Nodes of directories, with all that is below them. */
  readonly directories = new RefSet()
  /** Pages of arrays that no base divides, with their sizes and levels. */
  readonly pages = new RefSet()
  /** Values by the refs of their treeobjs. */
  readonly values = new RefSet()
  /** Blobs with their sizes. */
  readonly blobs = new RefSet()
}
