/** What a check of a store finds. See rfc/15. */

import type { Blobref } from '../blob/blobref.js'
import type { Code } from '../error.js'

/** Findings that a report lists; `found` counts all. */
export const findingsMax = 10_000

/** Where damage was found. data: the namespace's newest tree. meta: what it knows besides its keys. root: what names
 *  both. history: only in older, retained roots. pin: only in a pinned root. store: the engine's own tables. */
export type FindingWhere = 'data' | 'meta' | 'root' | 'history' | 'pin' | 'store'

/** One thing that is damaged or missing. */
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
  /** So many other keys lead to the same damage; absent: none. */
  readonly others?: number
  /** What is damaged or missing. */
  readonly ref?: Blobref
  readonly message: string
}

/** What was looked at so far. */
export type CheckProgress = {
  /** The one that is looked at now. */
  readonly namespace: string
  readonly roots: number
  readonly nodes: number
  readonly blobs: number
  /** Bytes of nodes and blobs. */
  readonly size: number
  /** Bytes that the store has, garbage included. */
  readonly total: number
}

/** One thing that a repair took out of a namespace's tree. */
export type Moved = {
  readonly key: string
  /** Where what survived of it is now; absent: nothing did. */
  readonly to?: string
  /** The key of the note that says what was lost. */
  readonly note: string
}

/** What a repair did in a namespace. */
export type Repaired = {
  readonly namespace: string
  /** Of the commit that took it out. */
  readonly seq: number
  readonly moved: readonly Moved[]
}

/** What a check found. */
export type CheckReport = {
  /** Nothing was found. */
  readonly clean: boolean
  /** All findings, those beyond the list included. */
  readonly found: number
  readonly findings: readonly Finding[]
  /** The check ended at its limit of findings: the rest of the store was not looked at. */
  readonly stopped?: true
  readonly checked: Omit<CheckProgress, 'namespace' | 'total'> & { readonly namespaces: number }
  /** Absent where no repair was asked for. */
  readonly repaired?: readonly Repaired[]
}
