/** The past of a namespace: its retained roots, what differs between two of them, and pins. See rfc/10. */

import type { Blobref } from '../blob/blobref.js'
import type { Base, Treeobj } from '../tree/treeobj.js'
import type { Scope } from './transaction.js'

/** Bytes of a pin's name, which is of the letters [A-Za-z0-9._-]. */
export const pinNameSizeMax = 128
/** Pins of a store. */
export const pinsMax = 10_000
/** Roots that one page of `log` looks at, whatever it finds. */
export const logRootsMax = 10_000

/** A retained root. */
export type RootEntry = {
  readonly seq: number
  readonly ref: Blobref
  /** Wall clock, ms since 1970. */
  readonly time: number
  /** Names of the pins that hold it. */
  readonly pins?: readonly string[]
  /** The keys that its commit changed, links resolved; absent where there were too many to name. */
  readonly keys?: readonly string[]
}

/** A page of retained roots. */
export type RootPage = {
  readonly roots: readonly RootEntry[]
  /** There is more: ask again `after` the seq of the last one (with `newest`: `before` it). */
  readonly more: boolean
}

/** A key on one side of a difference. */
export type Side = {
  readonly type: Treeobj['type']
  readonly ref: Blobref
  /** See `Stat.count`. */
  readonly count: number
  /** Bytes. */
  readonly size: number
  /** What a trim had dropped; absent where nothing was. */
  readonly base?: Base
}

/** A key that differs between two roots. */
export type DiffEntry = {
  readonly key: string
  readonly change: 'added' | 'removed' | 'changed'
  /** Absent where it was added. */
  readonly before?: Side
  /** Absent where it was removed. */
  readonly after?: Side
}

/** A page of a difference. */
export type DiffPage = {
  /** In the order of the keys. */
  readonly entries: readonly DiffEntry[]
  /** There is more: ask again `after` the last key. */
  readonly more: boolean
  /** The seq of the older root. */
  readonly from: number
  /** The seq of the newer root. */
  readonly to: number
}

/** What a key became at a root. */
export type LogEntry = {
  readonly seq: number
  /** Wall clock, ms since 1970. */
  readonly time: number
  /** Absent where the key was removed. */
  readonly value?: Side
}

/** A page of the past of a key. */
export type LogPage = {
  /** Newest first. */
  readonly entries: readonly LogEntry[]
  /** Older roots were not looked at yet: ask again `before` this seq. */
  readonly next?: number
  /** The seq of the oldest root that is retained. */
  readonly oldest: number
}

/** A root that is kept by name. */
export type Pin = {
  readonly name: string
  readonly namespace: string
  /** Life of the namespace that the root is of. */
  readonly incarnation: string
  readonly seq: number
  readonly ref: Blobref
  /** When the root was committed. Wall clock, ms since 1970. */
  readonly time: number
  /** When it was pinned. Wall clock, ms since 1970. */
  readonly pinned: number
}

/** Which retained roots are listed. */
export type RootsOptions = Scope & {
  /** Only roots with a seq above this one. */
  readonly after?: number
  /** Only roots with a seq below this one. */
  readonly before?: number
  /** Newest first. */
  readonly newest?: boolean
  /** 1 to `pageMax`; default `pageDefault`. */
  readonly limit?: number
}

/** Which roots are compared, and what of them. */
export type DiffOptions = Scope & {
  /** Seq or ref of a retained root. */
  readonly from: number | string
  /** Seq or ref of a retained root. Default: the newest. */
  readonly to?: number | string
  /** Only what is at or below this key. */
  readonly prefix?: string
  /** Only keys after this one. */
  readonly after?: string
  /** 1 to `pageMax`; default `pageDefault`. */
  readonly limit?: number
}

/** Which retained roots are looked at. */
export type LogOptions = Scope & {
  /** Only roots with a seq below this one. */
  readonly before?: number
  /** 1 to `pageMax`; default `pageDefault`. */
  readonly limit?: number
}

/** Which root is pinned. */
export type PinOptions = Scope & {
  /** Seq or ref of a retained root. Default: the newest. */
  readonly at?: number | string
}

type Signal = { readonly signal?: AbortSignal }

/** The past of namespaces. */
export interface History {
  /** A page of the retained roots. Throws ENONS. */
  roots(options?: RootsOptions): Promise<RootPage>
  /** A page of the keys that differ between two retained roots. Parts that both have in common are not read, so its cost
   *  is that of what differs. Throws ECOMPACTED, ENONS.
   *
   *      const { entries } = await store.history.diff({ from: 17, prefix: 'ci' })
   */
  diff(options: DiffOptions): Promise<DiffPage>
  /** A page of what one key became at the retained roots. Links are not followed. Throws ENONS. */
  log(key: string, options?: LogOptions): Promise<LogPage>
  /** Keeps a retained root under a name until it is unpinned. The same root under the same name is no error. Throws EEXIST
   *  (that name holds another root), ECOMPACTED, ENONS, E2BIG (`pinsMax`). */
  pin(name: string, options?: PinOptions): Promise<Pin>
  /** Lets a pinned root go. Throws ENOENT. */
  unpin(name: string, options?: Signal): Promise<void>
  /** All pins of the store, in the order of their names. */
  pins(options?: Signal): Promise<Pin[]>
}
