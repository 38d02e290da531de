/** One AbortSignal for many calls, as programs have it that end all they do at once. A part of the contract of
 *  `Kvs`. */

import { getEventListeners } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import type { Watching } from '../../src/api/watch.js'
import { refusal } from './expect.js'

/** Node warns above ten listeners: so there are more calls of each kind. */
const many = 200
const kinds = 5
/** Of calls that stay open: each is a request of its own. */
const some = 12

export function signalsContract(kvsOf: () => Kvs): void {
  describe('one signal for many calls', () => {
    it('has one listener while they run, and none after them', async () => {
      const kvs = kvsOf()
      const { signal } = new AbortController()
      const warnings = warningsOf()
      const seq = (await kvs.root()).seq
      const waiting = [
        ...times(some, () => kvs.root({ waitSeq: seq + 1, signal })),
        ...times(some, () => kvs.get('k', { minSeq: seq + 1, signal })),
        ...times(some, () => firstOf(kvs.watch('k', { mode: 'append', waitCreate: true, signal }))),
        ...times(some, () => firstOf(kvs.watch('k', { mode: 'value', waitCreate: true, signal }))),
      ]
      const calls = times(many / kinds, (at) => [
        kvs.append('k', 'x', { signal }),
        kvs.get('k', { signal }),
        kvs.stat('k', { signal }),
        kvs.put(`k${at % 10}`, stream(), { signal }),
        kvs.list('', { signal }),
      ]).flat()
      expect(listeners(signal)).toBeLessThanOrEqual(1)
      expect(calls).toHaveLength(many)
      await Promise.all([...calls, ...waiting])
      expect(listeners(signal)).toBe(0)
      expect(await warnings()).toEqual([])
    })

    it('ends them all when it aborts, and has no listener then', async () => {
      const kvs = kvsOf()
      await kvs.append('log', 'x')
      const abort = new AbortController()
      const { signal } = abort
      const warnings = warningsOf()
      const endless = async (watching: Watching) => {
        for await (const _ of watching);
      }
      const calls = [
        ...times(some, () => kvs.root({ waitSeq: 1_000_000, signal })),
        ...times(some, () => endless(kvs.watch('log', { mode: 'append', signal }))),
        ...times(some, () => endless(kvs.watch('log', { mode: 'value', signal }))),
        ...times(some, () => endless(kvs.watch('no', { mode: 'value', waitCreate: true, signal }))),
      ].map((call) => refusal(call))
      await kvs.append('log', 'y')
      abort.abort()
      for (const error of await Promise.all(calls))
        expect(error).toMatchObject({ code: 'ECANCELED' })
      expect(listeners(signal)).toBe(0)
      expect(await warnings()).toEqual([])
    })
  })
}

function times<T>(count: number, make: (at: number) => T): T[] {
  return Array.from({ length: count }, (_, at) => make(at))
}

function listeners(signal: AbortSignal): number {
  return getEventListeners(signal, 'abort').length
}

async function firstOf(watching: Watching): Promise<void> {
  await watching.next()
  await watching.return?.()
}

async function* stream(): AsyncGenerator<Uint8Array> {
  yield Buffer.from('a')
  yield Buffer.from('b')
}

/** The warnings of this process from now on. */
function warningsOf(): () => Promise<string[]> {
  const seen: string[] = []
  const warned = (warning: Error) => seen.push(`${warning.name}: ${warning.message}`)
  process.on('warning', warned)
  return async () => {
    await setImmediate()
    process.off('warning', warned)
    return seen
  }
}
