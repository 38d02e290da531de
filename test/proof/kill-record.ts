/** What clients tell of what they did, one line of JSON each. `kill-client.ts` writes it, `kill.ts`
 *  reads it. Times are of the system's monotonic clock, in ns, the same for all processes. */

import type { KeyOp, Met } from './register.js'

export type Outcome = 'acknowledged' | 'failed' | 'unknown'

export type KillRecord =
  /** On a key that is checked as one object. `met`: what refused its guard, with the ref. */
  | {
      readonly type: 'op'
      readonly key: string
      readonly start: number
      readonly end: number
      readonly outcome: Outcome
      readonly op: KeyOp
      readonly met?: Omit<Met, 'text'> & { readonly ref?: string }
      /** Of a read: the ref that it came with. */
      readonly ref?: string
      readonly seq?: number
    }
  /** Of an item to a log; `index` is its first blob's. */
  | {
      readonly type: 'append'
      readonly key: string
      readonly start: number
      readonly end: number
      readonly outcome: Outcome
      readonly item: string
      readonly index?: number
      readonly seq?: number
    }
  | {
      readonly type: 'read'
      readonly key: string
      readonly start: number
      readonly end: number
      readonly from: number
      /** Entries, one for each blob. */
      readonly items: readonly string[]
    }
  /** What a watcher of a log got; without an item a marker, or its beginning. */
  | {
      readonly type: 'event'
      readonly key: string
      readonly watcher: string
      readonly time: number
      readonly index: number
      readonly item?: string
      readonly marker?: 'start' | 'live' | 'end'
    }
  /** What no server may answer. */
  | { readonly type: 'fault'; readonly what: string }

/** What the run tells its clients: the keys to work on from now on, and that it is over. */
export type Order = { readonly generation: number } | { readonly over: true }

export type Keys = {
  readonly registers: readonly string[]
  /** Appended to as well. */
  readonly mixed: readonly string[]
  /** Two that are only written together. */
  readonly pair: readonly [string, string]
  /** Appended to only. */
  readonly logs: readonly string[]
}

export function keysOf(generation: number): Keys {
  const key = (name: string) => `run/${generation}/${name}`
  return {
    registers: [key('r0'), key('r1'), key('deep/r2')],
    mixed: [key('m0'), key('m1')],
    pair: [key('p0'), key('p1')],
    logs: [key('l0'), key('deep/l1')],
  }
}

/** Bytes of an item of two blobs; its name says that it is one. */
export const largeSize = 300_000

/** The entries that an item takes in a log: one for each of its blobs. */
export function blobsOf(item: string): readonly string[] {
  return item.endsWith('!>') ? [item, `${item}+`] : [item]
}

export function now(): number {
  return Number(process.hrtime.bigint())
}
