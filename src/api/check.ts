/** What a check of a store finds. See rfc/15. */

import type { Blobref } from '../blob/blobref.js'
import type { Code } from '../error.js'

/** Findings that a report lists; `found` counts all. */
export const findingsMax = 10_000

/** data: the namespace's newest tree; meta: its present beside that tree; root: what names both; history:
 *  only in older, retained roots; pin: only in a pinned one; store: the engine's own tables. */
export type FindingWhere = 'data' | 'meta' | 'root' | 'history' | 'pin' | 'store'

export type Finding = {
  readonly where: FindingWhere
  readonly code: Code
  /** Absent: of the store itself. */
  readonly namespace?: string
  /** history, pin: the oldest root that has it. */
  readonly seq?: number
  /** The pin's name. */
  readonly pin?: string
  /** The key, or the directory (`/`: the root directory). */
  readonly key?: string
  /** Blobs from index `from` up to `to`, bytes from `offset` up to `end` of the value. */
  readonly blobs?: {
    readonly from: number
    readonly to: number
    readonly offset: number
    readonly end: number
  }
  /** Names of the directory, after `after`, up to `upTo`; keys below them and their bytes. */
  readonly names?: {
    readonly after?: string
    readonly upTo?: string
    readonly keys: number
    readonly size: number
  }
  /** So many other keys lead to it; absent: none. */
  readonly others?: number
  /** What is damaged or missing. */
  readonly ref?: Blobref
  readonly message: string
}

/** What was looked at so far. `total`: bytes that the store has, garbage included. */
export type CheckProgress = {
  readonly namespace: string
  readonly roots: number
  readonly nodes: number
  readonly blobs: number
  readonly size: number
  readonly total: number
}

/** One thing that a repair took out of a namespace's tree; `to` is absent where nothing survived. */
export type Moved = {
  readonly key: string
  readonly to?: string
  /** The key of the note that says what was lost. */
  readonly note: string
}

export type Repaired = {
  readonly namespace: string
  /** Of the commit. */
  readonly seq: number
  readonly moved: readonly Moved[]
}

export type CheckReport = {
  /** Nothing was found. */
  readonly clean: boolean
  readonly found: number
  readonly findings: readonly Finding[]
  /** The check ended at its limit of findings: the rest of the store was not looked at. */
  readonly stopped?: true
  readonly checked: Omit<CheckProgress, 'namespace' | 'total'> & { readonly namespaces: number }
  /** Absent where no repair was asked for. */
  readonly repaired?: readonly Repaired[]
}
