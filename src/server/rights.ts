/** What only the owner may do: blobs by their refs, treeobjs that dangle, namespaces made of a tree. See
 *  rfc/12, rule 7. This is the one place that says who that is. */

import { TailraceError } from '../error.js'

/** Who asks. */
export type Party = { readonly owner: boolean }

/** Whoever got past `access.ts` has the owner's token, or the owner's socket. */
export const admitted: Party = { owner: true }

/** Throws EPERM. `what`: as in "only the owner may …". */
export function checkOwner(party: Party, what: string): void {
  if (!party.owner) throw new TailraceError('EPERM', `only the owner may ${what}`)
}
