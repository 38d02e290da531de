/** Packed values: they stay packed until somebody computes on them. See rfc/23. */

import type { Kvs, PutOptions, ReadScope } from './kvs.js'

/** The codecs that all know. */
export type CodecName = 'msgpack' | 'json' | 'bytes' | 'array' | 'clone'

/** The packed bytes of a value, in parts that are not joined. */
export type Parts = readonly Uint8Array[]

/** A way to turn values into bytes and back. */
export type Codec<T = unknown> = {
  /** 1 to 32 of a-z, 0-9 and "-"; no other codec has it. */
  readonly name: string
  /** 1 to 255. It grows where the bytes change. */
  readonly version: number
  /** Returns the bytes of a value. They may be views of it. It throws for one that it does not take:
   *  that becomes EINVAL. */
  pack(value: T): Parts
  /** Returns the value of bytes that this codec packed in that version, its own or an earlier one.
   *  It may be a view of them. What it throws becomes ECORRUPT. */
  unpack(bytes: Uint8Array, version: number): T
  /** Returns the memory of the opened value of so many packed bytes, in bytes: an estimate. Default:
   *  four times as many. */
  openedSize?(packedSize: number): number
}

/** The options of `openValues`. */
export type ValuesOptions = {
  /** The most packed bytes in memory. Default 256 MiB. */
  readonly packedMax?: number
  /** The most bytes of opened values. Default 1 GiB. */
  readonly openedMax?: number
  /** The answer to a call that finds no memory: it waits (the default), or fails with EBUSY. */
  readonly wait?: 'wait' | 'fail'
  /** Codecs beside those that all know. */
  readonly codecs?: readonly Codec[]
  /** The store for packed bytes that no store has, when memory is needed. Default: they stay. */
  readonly spill?: { readonly store: Kvs; readonly namespace?: string }
}

/** The options of calls that may take memory and time. */
export type ValueOptions = {
  /** Sums for the times of the call, besides those of the process; see `newTimings`. */
  readonly timings?: Timings
  /** See `ValuesOptions.wait`. */
  readonly wait?: 'wait' | 'fail'
  /** Ends the wait for memory and for a fetch, which goes on for others. */
  readonly signal?: AbortSignal
}

/** An opened value, which is in use until it is disposed of. Nobody may change it. */
export interface Opened<T> extends Disposable {
  readonly value: T
}

/** A value that is packed. To dispose of it gives back the memory that nobody uses: do so with one that
 *  no store has and nobody needs any more. Besides what is named, its calls throw ENOENT (the key is
 *  not there), ECLOSED (it was disposed of, and no store has it), EBUSY (there is no memory),
 *  ECANCELED, and what `Kvs.read` throws. */
export interface Packed<T> extends Disposable {
  /** The name of the key where it is stored, with its namespace; undefined for one in memory. */
  readonly source: { readonly key: string; readonly namespace?: string } | undefined
  /** The number of packed bytes, the head included; undefined while nobody has looked. */
  readonly size: number | undefined
  /** Opens the value, once for all who ask. Throws ECORRUPT (its codec cannot read it), EINVAL (its
   *  codec is not known). */
  open(options?: ValueOptions): Promise<Opened<T>>
  /** Opens the value, runs `fn` with it, and ends its use. Throws what `open` and `fn` throw. */
  use<R>(fn: (value: T) => R | Promise<R>, options?: ValueOptions): Promise<R>
  /** Returns all packed bytes, and remembers them while there is memory. Nobody may change them.
   *  Throws E2BIG (above `getSizeMax`: use `stream`). */
  bytes(options?: ValueOptions): Promise<Uint8Array>
  /** Yields the packed bytes as they come. Nothing is remembered. */
  stream(options?: ValueOptions): AsyncGenerator<Uint8Array, void, undefined>
  /** Stores the packed bytes under a key, and returns the value that stands there. In the store where
   *  it stands already, that is a copy by reference. Throws what `Kvs.put` throws. */
  store(kvs: Kvs, key: string, options?: StoreOptions): Promise<Packed<T>>
}

/** The options of `Packed.store`. */
export type StoreOptions = Pick<PutOptions, 'namespace' | 'guards' | 'ttl' | 'signal'> &
  Pick<ValueOptions, 'timings'>

/** The types of the opened values of several packed ones, in their order. */
export type OpenedValues<P extends readonly Packed<unknown>[]> = {
  -readonly [index in keyof P]: P[index] extends Packed<infer T> ? T : never
}

/** The values of a process. */
export interface PackedValues {
  /** Packs a value when there is memory for its bytes: do not change it before that. Default codec:
   *  `msgpack`. With `bytes` and `array` they are a view of the value: do not change it before it is
   *  stored. Throws EINVAL (the codec does not take it, or is not known), EBUSY, ECANCELED. */
  pack<T>(value: T, codec?: CodecName | Codec<T>, options?: ValueOptions): Promise<Packed<T>>
  /** Returns the packed value of packed bytes, as `Packed.bytes` gave them, when there is memory for
   *  them. Nobody may change them. Throws ECORRUPT (they are none), EBUSY, ECANCELED. */
  of<T = unknown>(bytes: Uint8Array, options?: ValueOptions): Promise<Packed<T>>
  /** Returns the packed value of a key. Reads nothing. */
  from<T = unknown>(kvs: Kvs, key: string, options?: Pick<ReadScope, 'namespace' | 'at'>): Packed<T>
  /** Opens all values at once, with one claim on memory, runs `fn` with them, and ends their use.
   *  Throws EINVAL (a value of another `openValues`), and what `Packed.open` and `fn` throw. */
  useAll<const P extends readonly Packed<unknown>[], R>(
    values: P,
    fn: (...values: OpenedValues<P>) => R | Promise<R>,
    options?: ValueOptions,
  ): Promise<R>
  /** Tells what is in memory, and what was done so far: a snapshot of plain numbers. */
  ledger(): LedgerView
  /** Tells the times of all calls of this process so far. */
  times(): Times
}

/** One sum of the ledger, in bytes. */
export type SumView = { readonly used: number; readonly max: number; readonly highest: number }

/** The state of the ledger, and what was counted so far. */
export type LedgerView = {
  readonly packed: SumView
  readonly opened: SumView
  /** Claims that wait for memory now. */
  readonly waiting: number
  readonly counts: Readonly<Record<CountName, number>>
}

/** Names of counts. A copy is one of the whole packed bytes, within memory. */
export type CountName =
  | 'fetches'
  | 'opens'
  | 'packs'
  | 'copies'
  | 'stores'
  | 'spills'
  | 'forgotten'
  | 'waits'

/** Times in ms. `wait` is that for memory. */
export type Times = Readonly<Record<WorkPhase, number>>

/** A part of the work on values. */
export type WorkPhase = 'wait' | 'fetch' | 'unpack' | 'run' | 'pack' | 'store'

/** Sums times, of a task or of a run. */
export interface Timings {
  /** Adds ms to a phase. */
  add(phase: WorkPhase, ms: number): void
  /** The sums so far. */
  readonly times: Times
}
