/** The parts of trees that an inspection found whole, so that it does not read them again. See
 *  rfc/15.
 *  Invariant: a part counts as whole only as the kind, and with the size and level, that it was
 *  inspected with. A ref that is named as another kind, or with another size, is inspected anew. */

import { RefSet } from '../blob/ref-set.js'

/** The whole parts. Mutable; owned by the inspection that fills it. */
export class Clean {
  /** Nodes of directories, with all that is below them. */
  readonly directories = new RefSet()
  /** Pages of arrays with their sizes and levels, if all their blobs are
   *  above the base of their log. */
  readonly pages = new RefSet()
  /** Values, by the refs of their treeobjs. */
  readonly values = new RefSet()
  /** Blobs with their sizes. */
  readonly blobs = new RefSet()
}
