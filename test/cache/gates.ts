/** A store whose calls a test holds back, so that it chooses the order in which two clients of one store act. The calls
 *  themselves are those of the real store. */

import type { Store } from '../../src/api/store.js'
import { type Deferred, deferred } from '../../src/base/deferred.js'
import { TailraceError } from '../../src/error.js'

/** Where a call can be held, before it is made. look: for results. take: the lease of a claim. put: of an output that is
 *  stored first. finish: the last transaction of a publish. finished: its answer. */
export type Point = 'look' | 'take' | 'put' | 'finish' | 'finished'

type Call = Exclude<Point, 'finished'> | 'watch'
type Stop = { readonly reached: Deferred<void>; readonly passed: Deferred<void> }

export type Gated = {
  readonly store: Store
  /** Holds the next call at a point. `reached` resolves once it is there; `open` lets it pass. */
  readonly hold: (point: Point) => { readonly reached: Promise<void>; readonly open: () => void }
  /** The calls that were made, in order. */
  readonly calls: readonly Call[]
  /** The types of the events that watches brought, in order. */
  readonly events: readonly string[]
}

export function gated(store: Store): Gated {
  const stops = new Map<Point, Stop[]>()
  const calls: Call[] = []
  const events: string[] = []
  const pass = async (point: Point) => {
    const stop = stops.get(point)?.shift()
    stop?.reached.resolve()
    await stop?.passed.promise
    if (point !== 'finished') calls.push(point)
  }
  const inner: Store = {
    ...store,
    storeId: store.storeId,
    readMany: async (keys, options) => {
      await pass('look')
      return store.readMany(keys, options)
    },
    watch: (key, options) => {
      calls.push('watch')
      const watching = store.watch(key, options)
      const next = watching.next.bind(watching)
      const counted = async () => {
        const result = await next()
        if (result.value) events.push(result.value.type)
        return result
      }
      return Object.assign(watching, { next: counted })
    },
    put: async (key, value, options) => {
      await pass('put')
      return store.put(key, value, options)
    },
    leases: {
      ...store.leases,
      takeEach: async (keys, options) => {
        await pass('take')
        const taken = await store.leases.takeEach(keys, options)
        return taken.map((lease) => {
          if (lease instanceof TailraceError) return lease
          const finish = lease.finish.bind(lease)
          return Object.assign(lease, {
            finish: async (...args: Parameters<typeof finish>) => {
              await pass('finish')
              const finished = await finish(...args)
              await pass('finished')
              return finished
            },
          })
        })
      },
    },
  }
  return {
    store: inner,
    calls,
    events,
    hold: (point) => {
      const stop = { reached: deferred<void>(), passed: deferred<void>() }
      stops.set(point, [...(stops.get(point) ?? []), stop])
      return { reached: stop.reached.promise, open: () => stop.passed.resolve() }
    },
  }
}
