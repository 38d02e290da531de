/** The time of a namespace: its retained roots, what differs between two of them, and pins. See rfc/10.
 *  Types only. */

import type { Blobref } from '../blob/blobref.js'
import type { Base, Treeobj } from '../tree/treeobj.js'
import type { Scope } from './transaction.js'

/** Bytes of a pin's name: [A-Za-z0-9._-], 1 to this many. */
export const pinNameSizeMax = 128
export const pinsMax = 10_000
/** Roots that one page of `log` looks at, whatever it finds. */
export const logRootsMax = 10_000

export type RootEntry = {
  readonly seq: number
  readonly ref: Blobref
  /** Wall clock, ms since 1970. */
  readonly time: number
  /** Names of the pins that hold it. */
  readonly pins?: readonly string[]
  /** The resolved keys that its group changed; absent where there were too many to name. */
  readonly keys?: readonly string[]
}

export type RootPage = {
  readonly roots: readonly RootEntry[]
  /** There is more: ask again after (`newest`: before) the last one's seq. */
  readonly more: boolean
}

/** A key on one side of a difference. */
export type Side = {
  readonly type: Treeobj['type']
  readonly ref: Blobref
  readonly count: number
  readonly size: number
  readonly base?: Base
}

/** added: no `before`; removed: no `after`; changed: both. */
export type DiffEntry = {
  readonly key: string
  readonly change: 'added' | 'removed' | 'changed'
  readonly before?: Side
  readonly after?: Side
}

export type DiffPage = {
  readonly entries: readonly DiffEntry[]
  /** There is more: ask again `after` the last key. */
  readonly more: boolean
  /** Of the two roots. */
  readonly from: number
  readonly to: number
}

/** What a key was made at a root; without `value`: it was removed there. */
export type LogEntry = {
  readonly seq: number
  readonly time: number
  readonly value?: Side
}

export type LogPage = {
  /** Newest first. */
  readonly entries: readonly LogEntry[]
  /** Older roots were not looked at yet: ask again `before` this seq. */
  readonly next?: number
  /** The oldest root that is retained. */
  readonly oldest: number
}

export type Pin = {
  readonly name: string
  readonly namespace: string
  readonly incarnation: string
  readonly seq: number
  readonly ref: Blobref
  /** Of the root, and of the pin. Wall clock, ms since 1970. */
  readonly time: number
  readonly pinned: number
}

export type RootsOptions = Scope & {
  /** Roots with a seq above this one; with `newest` those below `before`, newest first. */
  readonly after?: number
  readonly before?: number
  readonly newest?: boolean
  readonly limit?: number
}

export type DiffOptions = Scope & {
  /** Seq or ref of a retained root. `to` is the newest if left out. */
  readonly from: number | string
  readonly to?: number | string
  /** Only what is at or below this key. */
  readonly prefix?: string
  readonly after?: string
  readonly limit?: number
}

export type LogOptions = Scope & { readonly before?: number; readonly limit?: number }

type Signal = { readonly signal?: AbortSignal }

export interface History {
  /** The retained roots. Throws ENONS, EINVAL. */
  roots(options?: RootsOptions): Promise<RootPage>
  /** The keys that differ between two retained roots, in order. Throws ECOMPACTED, EINVAL, ENONS. */
  diff(options: DiffOptions): Promise<DiffPage>
  /** The retained past of one key. Links are not followed. Throws ENONS. */
  log(key: string, options?: LogOptions): Promise<LogPage>
  /** Keeps a retained root (`at`: seq or ref; the newest if left out) until it is unpinned. Throws EEXIST
   *  (that name holds another root), ECOMPACTED, ENONS, E2BIG (`pinsMax`). */
  pin(name: string, options?: Scope & { readonly at?: number | string }): Promise<Pin>
  /** Throws ENOENT. */
  unpin(name: string, options?: Signal): Promise<void>
  pins(options?: Signal): Promise<Pin[]>
}
