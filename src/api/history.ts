/** The history of a namespace: its retained roots, the differences between them, and
 *  pins. See rfc/10. */

import type { Blobref } from '../blob/blobref.js'
import type { Base, Treeobj } from '../treeobj/treeobj.js'
import type { Scope } from './transaction.js'

/** The largest length of a pin's name, which is made of the characters [A-Za-z0-9._-]. */
export const pinNameSizeMax = 128
/** The largest number of pins in a store. */
export const pinsMax = 10_000
/** The largest number of roots that one page of `log` looks at. */
export const logRootsMax = 10_000

/** A retained root. */
export type RootEntry = {
  readonly seq: number
  readonly ref: Blobref
  /** The time of its commit, wall clock, ms since 1970. */
  readonly time: number
  /** The names of the pins that hold it; absent if there are none. */
  readonly pins?: readonly string[]
  /** The keys that its commit changed, links resolved; absent where there were too many to name. */
  readonly keys?: readonly string[]
}

/** A page of retained roots. */
export type RootPage = {
  readonly roots: readonly RootEntry[]
  /** True if there are more: ask again `after` the seq of the last one (with
   *  `newest`: `before` it). */
  readonly more: boolean
}

/** A key on one side of a difference. */
export type Side = {
  readonly type: Treeobj['type']
  readonly ref: Blobref
  /** See `Stat.count`. */
  readonly count: number
  /** The bytes of the value, those that a trim dropped included. */
  readonly size: number
  /** The blobs and bytes that a trim dropped; absent where none were. */
  readonly base?: Base
}

/** A key that differs between two roots. */
export type DiffEntry = {
  readonly key: string
  readonly change: 'added' | 'removed' | 'changed'
  /** The key at the older root; absent where it was added. */
  readonly before?: Side
  /** The key at the newer root; absent where it was removed. */
  readonly after?: Side
}

/** A page of a difference. */
export type DiffPage = {
  /** The entries in the order of their keys. */
  readonly entries: readonly DiffEntry[]
  /** True if there are more: ask again `after` the last key. */
  readonly more: boolean
  /** The seq of the older root. */
  readonly from: number
  /** The seq of the newer root. */
  readonly to: number
}

/** A change of a key at a root. */
export type LogEntry = {
  /** The seq of the root. */
  readonly seq: number
  /** The time of the root, wall clock, ms since 1970. */
  readonly time: number
  /** The key from then on; absent where it was removed. */
  readonly value?: Side
}

/** A page of the past of a key. */
export type LogPage = {
  /** The changes, newest first. */
  readonly entries: readonly LogEntry[]
  /** The seq to ask for the next page with, as `before`; absent where no older root is
   *  left to look at. */
  readonly next?: number
  /** The seq of the oldest root that is retained. */
  readonly oldest: number
}

/** A root that is kept by name. */
export type Pin = {
  readonly name: string
  readonly namespace: string
  /** The life of the namespace that the root belongs to. */
  readonly incarnation: string
  readonly seq: number
  readonly ref: Blobref
  /** The time of the root's commit, wall clock, ms since 1970. */
  readonly time: number
  /** The time at which it was pinned, wall clock, ms since 1970. */
  readonly pinned: number
}

/** The options of `roots`. */
export type RootsOptions = Scope & {
  /** Selects roots with a seq above this one. */
  readonly after?: number
  /** Selects roots with a seq below this one. */
  readonly before?: number
  /** True to list the newest first; default the oldest. */
  readonly newest?: boolean
  /** The number of roots on the page, 1 to `pageMax`; default `pageDefault`. */
  readonly limit?: number
}

/** The options of `diff`. */
export type DiffOptions = Scope & {
  /** The older root: the seq or ref of a retained or pinned root. */
  readonly from: number | string
  /** The newer root: the seq or ref of a retained or pinned root. Default: the newest root. */
  readonly to?: number | string
  /** Selects this key and the keys below it. */
  readonly prefix?: string
  /** Selects keys after this one. */
  readonly after?: string
  /** The number of entries on the page, 1 to `pageMax`; default `pageDefault`. */
  readonly limit?: number
}

/** The options of `log`. */
export type LogOptions = Scope & {
  /** Selects roots with a seq below this one. */
  readonly before?: number
  /** The number of entries on the page, 1 to `pageMax`; default `pageDefault`. */
  readonly limit?: number
}

/** The options of `pin`. */
export type PinOptions = Scope & {
  /** The seq or ref of a retained root. Default: the newest root. */
  readonly at?: number | string
}

type Signal = { readonly signal?: AbortSignal }

/** The calls on the history of namespaces. */
export interface History {
  /** Returns a page of the retained roots. Throws ENONS. */
  roots(options?: RootsOptions): Promise<RootPage>
  /** Returns a page of the keys that differ between two retained roots. It does not read what both
   *  have in common, so its cost grows with the difference only. Throws ECOMPACTED, ENONS.
   *
   *      const { entries } = await store.history.diff({ from: 17, prefix: 'ci' })
   */
  diff(options: DiffOptions): Promise<DiffPage>
  /** Returns a page of the changes of one key at the retained roots. Links are not
   *  followed. Throws ENONS. */
  log(key: string, options?: LogOptions): Promise<LogPage>
  /** Keeps a retained root under a name until it is unpinned. Pinning a root again under
   *  its name is no error. Throws EEXIST (the name holds another root), ECOMPACTED, ENONS,
   *  E2BIG (`pinsMax`). */
  pin(name: string, options?: PinOptions): Promise<Pin>
  /** Removes a pin. Throws ENOENT. */
  unpin(name: string, options?: Signal): Promise<void>
  /** Lists all pins of the store, in the order of their names. */
  pins(options?: Signal): Promise<Pin[]>
}
