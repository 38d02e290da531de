/** Functions of targets for tests: a module that imports one file, so that its code is read in no time. */

import { once } from 'node:events'
import { appendFileSync, statSync } from 'node:fs'
import { TailraceError } from '../../src/error.js'
import { targetSignal } from '../../src/flow/calls.js'

/** Calls of the functions below, by their names. */
export const calls: Record<string, number> = {}

/** Holds calls of `held` until it is told. */
export const gate: { wait: Promise<void> } = { wait: Promise.resolve() }

function count(name: string): void {
  calls[name] = (calls[name] ?? 0) + 1
}

/** The places that `mixed` was called with. */
export const places: number[] = []

/** Returns a number that depends on all that it gets. */
export function mixed(place: number, own: number, sums: readonly number[]): number {
  places.push(place)
  return sums.reduce((sum, each) => (sum * 31 + each) % 65_537, place + own)
}

export function numbers(length: number): number[] {
  count('numbers')
  return Array.from({ length }, (_, at) => at)
}

export function square(value: number): number {
  count('square')
  return value * value
}

export function sum(values: readonly number[]): number {
  count('sum')
  return values.reduce((all, each) => all + each, 0)
}

export function product(left: number, right: number): number {
  count('product')
  return left * right
}

/** Returns the number of its parameters, whatever they are. */
export function parameters(...values: readonly unknown[]): number {
  return values.length
}

export function text(parity: number): string {
  count('text')
  return parity % 2 === 0 ? 'even' : 'odd'
}

export function shout(word: string): string {
  count('shout')
  return word.toUpperCase()
}

export function large(size: number): Uint8Array {
  count('large')
  return new Uint8Array(size).fill(7)
}

export function sizeOf(bytes: Uint8Array): number {
  count('sizeOf')
  return bytes.length
}

export function fails(): never {
  count('fails')
  throw new RangeError('on purpose')
}

export function failsUnknown(): never {
  count('failsUnknown')
  throw new TailraceError('EUNKNOWN', 'on purpose')
}

export async function held(): Promise<string> {
  count('held')
  await gate.wait
  return 'held'
}

export function sizeOfFile(path: string, change: string | null): number {
  count('sizeOfFile')
  const { size } = statSync(path)
  if (change !== null) appendFileSync(path, change)
  return size
}

export function drawn(): number {
  count('drawn')
  return calls['drawn'] ?? 0
}

/** The number of calls of `flaky` that fail. */
export const failures: { left: number } = { left: 0 }

export function flaky(value: number): number {
  count('flaky')
  if (failures.left-- > 0) throw Object.assign(new RangeError('on purpose'), { code: 'EFLAKY' })
  return value
}

export function orZero(value: number | null): number {
  count('orZero')
  return value ?? 0
}

export function deaf(): Promise<never> {
  count('deaf')
  return once(targetSignal(), 'abort').then(() => Promise.reject(new Error('late')))
}
