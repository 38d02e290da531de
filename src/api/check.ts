/** The report of a check of a store (fsck). See rfc/15. */

import type { Blobref } from '../blob/blobref.js'
import type { Code } from '../error.js'

/** The largest number of findings that a report lists; `found` counts all. */
export const findingsMax = 10_000

/** The place of damage. data: the namespace's newest tree of keys. meta: the tree of what it knows
 *  besides its keys. root: the root node, which names both. history: only older, retained roots.
 *  pin: only a pinned root. store: the engine's own tables. */
export type FindingWhere = 'data' | 'meta' | 'root' | 'history' | 'pin' | 'store'

/** One thing that is damaged or missing. */
export type Finding = {
  readonly where: FindingWhere
  readonly code: Code
  /** The namespace; absent for damage of the store itself. */
  readonly namespace?: string
  /** history, pin: the seq of the oldest root that has the damage. */
  readonly seq?: number
  /** The pin's name. */
  readonly pin?: string
  /** The damaged key or directory; `/` is the root directory. */
  readonly key?: string
  /** The damaged part of a value: blobs from index `from` up to, not including, `to`; bytes from
   *  `offset` up to, not including, `end`. */
  readonly blobs?: {
    readonly from: number
    readonly to: number
    readonly offset: number
    readonly end: number
  }
  /** The damaged part of a directory: the names after `after`, up to `upTo`, with the number of
   *  keys below them (`keys`) and their bytes (`size`). */
  readonly names?: {
    readonly after?: string
    readonly upTo?: string
    readonly keys: number
    readonly size: number
  }
  /** The number of other keys that lead to the same damage; absent if none do. */
  readonly others?: number
  /** The ref of the blob or node that is damaged or missing. */
  readonly ref?: Blobref
  readonly message: string
}

/** The progress of a check: numbers of what was checked so far. */
export type CheckProgress = {
  /** The namespace that is being checked. */
  readonly namespace: string
  readonly roots: number
  readonly nodes: number
  readonly blobs: number
  /** The bytes of these nodes and blobs. */
  readonly size: number
  /** The bytes that the store has, garbage included. */
  readonly total: number
}

/** One key that a repair took out of a namespace's tree. */
export type Moved = {
  readonly key: string
  /** The key where the undamaged part of it is now; absent if there is none. */
  readonly to?: string
  /** The key of the note that says what was lost. */
  readonly note: string
}

/** The repair of one namespace. */
export type Repaired = {
  readonly namespace: string
  /** The seq of the commit that took the damaged keys out. */
  readonly seq: number
  readonly moved: readonly Moved[]
}

/** The report of a check. */
export type CheckReport = {
  /** True if nothing was found. */
  readonly clean: boolean
  /** The number of all findings, those that are not listed included. */
  readonly found: number
  /** The first `findingsMax` findings. */
  readonly findings: readonly Finding[]
  /** True if the check ended at its limit of findings: the rest of the store was not checked. */
  readonly stopped?: true
  readonly checked: Omit<CheckProgress, 'namespace' | 'total'> & { readonly namespaces: number }
  /** The repairs; absent where none was asked for. */
  readonly repaired?: readonly Repaired[]
}
