/** The rule of compare-and-swap that every engine applies to a part of a commit. See rfc/4, rule 2.
 *  Pure.
 *  Invariant: a part is stored only on the revision that it expects, and a `tx` at most once. */

import { TailraceError } from '../error.js'
import type { Head, Outcome, Part, Revision, Root } from './engine.js'

/** Judges a part at the head of its namespace. Returns the outcome, or undefined if the part is to
 *  be stored. `after` finds the retained root that followed a revision: a part that is sent again
 *  expects the same revision, so that root has its `tx` if it was applied. */
export function judge(
  part: Part,
  head: Head | undefined,
  after: (revision: Revision) => Root | undefined,
): Outcome | undefined {
  if (!head || head.namespace.incarnation !== part.incarnation) {
    return { status: 'conflict', head: undefined }
  }
  if (head.root.tx === part.root.tx) return { status: 'applied', revision: head.revision }
  if (head.revision !== part.expected) {
    const next = after(part.expected)
    if (next?.tx === part.root.tx) return { status: 'applied', revision: next.seq }
    return { status: 'conflict', head }
  }
  if (part.root.seq > head.root.seq) return undefined
  const error = new TailraceError(
    'EINVAL',
    `root ${part.root.seq} of ${part.namespace} must have a seq above ${head.root.seq}`,
  )
  return { status: 'unavailable', applied: 'no', error }
}

/** Lists the namespaces of a commit. Throws EINVAL where one has two parts. */
export function namesOf(parts: readonly Part[]): string[] {
  const names = new Set(parts.map(({ namespace }) => namespace))
  if (names.size < parts.length) {
    throw new TailraceError('EINVAL', 'a commit has one part for each namespace: merge them')
  }
  return [...names]
}
