/** The port between a scheduler and one worker, whatever the worker is. See rfc/25, rule 7.
 *  Invariant: after `ended` nothing comes any more. */

import type { Envelope } from './batches.js'

/** A link, as the scheduler has it. */
export interface WorkerLink {
  readonly kind: 'process' | 'thread'
  readonly pid: number | undefined
  /** Sends messages, all at once. */
  send(batch: readonly Envelope[]): void
  /** Takes calls back that have not begun: `tookBack` tells which. */
  takeBack(seqs: readonly number[]): void
  /** Ends the worker, whatever it does. */
  kill(): void
  /** Resolves when the worker is gone. */
  readonly gone: Promise<void>
}

/** The ports of a link. */
export type LinkPorts = {
  readonly received: (batch: readonly Envelope[]) => void
  /** Hears which calls were taken back, in the order of `takeBack`. */
  readonly tookBack: (seqs: readonly number[]) => void
  /** Hears that the worker is gone, and why: once. */
  readonly ended: (why: string) => void
}

/** Data that the program of a worker begins with. */
export type ProgramData = {
  /** The paths of the modules. */
  readonly modules: readonly string[]
  readonly slots: number
  /** The arguments of the scheduler's process, which modules may look at. */
  readonly argv: readonly string[]
  readonly graceMs: number
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
