/** Tailrace itself: the built command as server, and the default client over its Unix socket. */

import { join } from 'node:path'
import { openCache } from '../../src/cache/cache.js'
import { connect } from '../../src/client/node.js'
import { smallSizeMax } from '../../src/client/small.js'
import { mainFile, programVersion } from '../../src/local/installation.js'
import { findServer, urlOf, youngHeap } from '../../src/local/local.js'
import { openValues } from '../../src/value/values.js'
import { ServerProcess } from './server-process.js'
import type { Client, System } from './system.js'

export const tailrace: System = {
  id: 'tailrace',
  title: 'Tailrace',
  durability: 'synced before each answer; its default client on a Unix socket',
  keyed: true,
  // What is larger goes over HTTP, each append by itself: rfc/12, rule 37.
  orderedSizeMax: smallSizeMax / 2,
  watchersMax: 1_000,
  sharedWatches: true,
  found: () => ({ version: programVersion() }),

  start: async (directory) => {
    const data = join(directory, 'data')
    const args = [youngHeap, mainFile, 'serve', '--data', data]
    const server = await ServerProcess.start(process.execPath, args)
    const address = await server.answers(async () => {
      const record = await findServer(data)
      if (!record) throw new Error('it does not listen yet')
      return urlOf(record)
    })
    return {
      address,
      pid: server.pid,
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    }
  },

  connect: async (address): Promise<Client> => {
    const store = await connect(address)
    const results = openCache(store)
    return {
      append: (key, value) => store.append(key, value),
      put: (key, value) => store.put(key, value),
      get: (key) => store.get(key),
      packed: { store, values: openValues() },
      cached: async (action, compute) => {
        const got = await results.claim(action)
        if (got.type === 'hit') return got.get()
        await using claim = got
        const bytes = await compute()
        await claim.publish(bytes)
        return bytes
      },
      last: async (key, count) => {
        const all: Uint8Array[] = []
        for await (const event of store.watch(key, { mode: 'append', from: -count })) {
          if (event.type === 'append' && all.push(event.data) === count) break
        }
        return all
      },
      follow: async (key, onData) => {
        for await (const event of store.watch(key, { mode: 'append', waitCreate: true })) {
          if (event.type === 'append' && !onData(event.data)) return
        }
      },
      [Symbol.asyncDispose]: () => store.close(),
    }
  },
}
