/** etcd: a log is a prefix whose keys count up, as the writer numbers them; one server, its log
 *  synced. */

import { join } from 'node:path'
import { deferred } from '../../src/base/deferred.js'
import { fetchedPackage, found, program } from './fetched.js'
import { freePort, reach, ServerProcess } from './server-process.js'
import type { Client, System } from './system.js'

/** Digits of a number in a log. */
const digits = 9

type Watcher = {
  on(event: 'put', listener: (change: { readonly value: Buffer }) => void): Watcher
  on(event: 'error', listener: (error: Error) => void): Watcher
  cancel(): Promise<void>
}
type Etcd = {
  put(key: string): { value(value: Buffer): PromiseLike<unknown> }
  get(key: string): { buffer(): Promise<Buffer | null> }
  getAll(): {
    prefix(prefix: string): {
      sort(
        target: 'Key',
        order: 'Descend',
      ): {
        limit(count: number): { buffers(): Promise<Readonly<Record<string, Buffer>>> }
      }
    }
  }
  watch(): {
    prefix(prefix: string): { startRevision(revision: string): { create(): Promise<Watcher> } }
  }
  close(): void
}
type Etcd3 = { readonly Etcd3: new (options: object) => Etcd }

export const etcd: System = {
  id: 'etcd',
  title: 'etcd',
  durability: 'one server, its log synced; etcd3 over TCP',
  keyed: true,
  // Puts that are in flight together are applied in any order.
  orderedSizeMax: 0,
  watchersMax: 100,
  sharedWatches: true,
  found: () => found('etcd'),

  start: async (directory) => {
    const [client, peer] = [await freePort(), await freePort()]
    const url = `http://127.0.0.1:${client}`
    const peerUrl = `http://127.0.0.1:${peer}`
    const settings = {
      name: 'bench',
      'data-dir': join(directory, 'data'),
      'listen-client-urls': url,
      'advertise-client-urls': url,
      'listen-peer-urls': peerUrl,
      'initial-advertise-peer-urls': peerUrl,
      'initial-cluster': `bench=${peerUrl}`,
      'quota-backend-bytes': String(8 * 1024 ** 3),
      'log-level': 'error',
    }
    const args = Object.entries(settings).map(([name, value]) => `--${name}=${value}`)
    const server = await ServerProcess.start(program('etcd'), args)
    await server.answers(() => reach(client))
    return {
      address: url,
      pid: server.pid,
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    }
  },

  connect: async (address): Promise<Client> => {
    const { Etcd3 } = (await fetchedPackage('etcd3')) as Etcd3
    const store = new Etcd3({
      hosts: address,
      // A watch from the beginning gets a thousand revisions in one message.
      grpcOptions: { 'grpc.max_receive_message_length': -1 },
    })
    const lengths = new Map<string, number>()
    return {
      append: async (key, value) => {
        const length = lengths.get(key) ?? 0
        lengths.set(key, length + 1)
        await store.put(`${key}/${String(length).padStart(digits, '0')}`).value(value)
      },
      put: async (key, value) => {
        await store.put(key).value(value)
      },
      get: async (key) => (await store.get(key).buffer()) ?? undefined,
      last: async (key, count) => {
        const request = store.getAll().prefix(`${key}/`).sort('Key', 'Descend').limit(count)
        return Object.values(await request.buffers()).toReversed()
      },
      follow: async (key, onData) => {
        const watcher = await store.watch().prefix(`${key}/`).startRevision('1').create()
        const done = deferred<void>()
        let going = true
        watcher.on('error', done.reject).on('put', ({ value }) => {
          try {
            if (going && !onData(value)) done.resolve()
          } catch (error) {
            done.reject(error)
          }
        })
        await done.promise
        going = false
        await watcher.cancel()
      },
      [Symbol.asyncDispose]: async () => store.close(),
    }
  },
}
