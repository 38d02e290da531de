/** Functions of targets that fail, for tests of calls that are made again. */

import { readdirSync, readFileSync } from 'node:fs'
import type { Packed } from '../../src/api/value.js'

export function same<T>(value: T): T {
  return value
}

/** Tells what it got by its error. */
export function refuse(...values: readonly unknown[]): never {
  throw new RangeError(`refused ${JSON.stringify(values)}`)
}

export function refuseFour(value: number, ...others: readonly unknown[]): number {
  return value === 4 ? refuse(value, ...others) : value
}

/** Tells how many values it got, and the first item of a field. */
export function refuseMany(...values: readonly unknown[]): never {
  const { of } = values[3] as { readonly of: readonly unknown[] }
  return refuse(values.length, of[0])
}

/** Tells the content of a file by its error. */
export function refuseFile(path: string): never {
  throw new RangeError(`refused ${readFileSync(path, 'utf8')}`)
}

export function refuseDirectory(path: string): never {
  const names = readdirSync(path, { recursive: true }).sort()
  throw new RangeError(`refused ${names.join()}`)
}

export async function refusePacked(packed: Packed<unknown>): Promise<never> {
  throw new RangeError(`refused ${JSON.stringify(await packed.use((value) => value))}`)
}

export function refuseOdd(value: number): number {
  if (value % 2 === 1) throw new RangeError(`refused ${value}`)
  return value
}

export function refuseAll(values: readonly number[]): never {
  throw new RangeError(`refused ${values.reduce((sum, each) => sum + each, 0)}`)
}
