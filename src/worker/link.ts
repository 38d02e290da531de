/** The port between a scheduler and one worker, whatever the worker is. See rfc/25, rule 7.
 *  Invariant: after `ended` nothing comes any more. */

import type { Kvs } from '../api/kvs.js'
import type { Envelope } from './batches.js'

/** Bytes that stand at a key of a store. */
export type PlacedPart = {
  readonly key: string
  readonly namespace: string
  /** The root at which they stand there. Default: the newest one. */
  readonly at?: number
  /** The number of bytes, and their BLAKE3, 64 hex digits, of a result. */
  readonly size?: number
  readonly hash?: string
}

/** Bytes of an input at a key of a store. */
export type PlacedInput = {
  readonly store: Kvs
  readonly key: string
  readonly namespace: string
  readonly at?: number
}

/** A part of a message: bytes, or the place where they stand. */
export type MessagePart = Uint8Array | PlacedPart

/** True for bytes, and not a place where they stand. */
export function isBytes(part: MessagePart): part is Uint8Array {
  return part instanceof Uint8Array
}

/** A link, as the scheduler has it. */
export interface WorkerLink {
  readonly kind: 'process' | 'thread' | 'remote'
  readonly pid: number | undefined
  /** Puts bytes where the worker fetches them itself, by reference. Returns undefined if it cannot: then
   *  they are sent. A link without it is sent all. */
  place?(input: PlacedInput): Promise<PlacedPart | undefined>
  /** Hears that the result at a place is not needed there any more. */
  release?(part: PlacedPart): void
  /** The store in which the worker places results. */
  readonly store?: Kvs
  /** Sends messages, all at once. REQUIRES: parts that are no bytes are what `place` gave. */
  send(batch: readonly Envelope<MessagePart>[]): void
  /** Takes calls back that have not begun: `tookBack` tells which. */
  takeBack(seqs: readonly number[]): void
  /** Ends the worker, whatever it does. */
  kill(): void
  /** Resolves when the worker is gone. */
  readonly gone: Promise<void>
}

/** The ports of a link. */
export type LinkPorts = {
  readonly received: (batch: readonly Envelope<MessagePart>[]) => void
  /** Hears which calls were taken back, in the order of `takeBack`. */
  readonly tookBack: (seqs: readonly number[]) => void
  /** Hears that the worker is gone, and why: once. `isLeave`: it has ended by itself, and no call is to
   *  blame. */
  readonly ended: (why: string, isLeave?: boolean) => void
}

/** Data that the program of a worker begins with. */
export type ProgramData = {
  /** The paths of the modules. */
  readonly modules: readonly string[]
  readonly slots: number
  /** The arguments of the scheduler's process, which modules may look at. */
  readonly argv: readonly string[]
  readonly graceMs: number
  /** True to read the code of all targets before it is ready, and to tell a hash of it. */
  readonly tellsCode?: boolean
}

/** The property of the global object of a worker, for every copy of this file. */
const mark = Symbol.for('tailrace.worker')

/** Marks this process or thread as a worker. */
export function markWorker(): void {
  Object.defineProperty(globalThis, mark, { value: true })
}

/** True in a worker. */
export function isWorker(): boolean {
  return mark in globalThis
}
