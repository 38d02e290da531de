/** Redis: streams as logs, strings as values; the client is ioredis on a Unix socket. */

import { randomUUID } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fetchedPackage, found, program } from './fetched.js'
import { reach, ServerProcess } from './server-process.js'
import type { Client, System } from './system.js'

/** Entries of one XREAD: at 64 KiB each an answer of 4 MiB. */
const readCount = 64

/** The time after which a lock ends by itself, and between two tries to take it, in ms: the latter is
 *  the default of redis-py, on which gokart's lock stands. */
const lockMs = 30_000
const lockPauseMs = 100
/** Deletes a lock if it is one's own. */
const unlock = `if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end`

type Connection = {
  xadd(...args: readonly (string | Buffer)[]): Promise<unknown>
  xrevrangeBuffer(...args: readonly (string | number)[]): Promise<unknown>
  xreadBuffer(...args: readonly (string | number | Buffer)[]): Promise<unknown>
  set(key: string, value: Buffer | string, ...args: readonly (string | number)[]): Promise<unknown>
  eval(script: string, keys: number, ...args: readonly string[]): Promise<unknown>
  getBuffer(key: string): Promise<Buffer | null>
  disconnect(): void
}
/** An id and its fields. */
type Entry = readonly [Buffer, readonly Buffer[]]
type Ioredis = { readonly Redis: new (options: object) => Connection }
/** Streams by their names. */
type Answer = readonly (readonly [Buffer, readonly Entry[]])[]

export const redis: System = {
  id: 'redis',
  title: 'Redis',
  durability: 'append-only file, fsync always, never rewritten; ioredis on a Unix socket',
  keyed: true,
  orderedSizeMax: Number.POSITIVE_INFINITY,
  watchersMax: 1_000,
  sharedWatches: false,
  found: () => found('redis'),

  start: async (directory) => {
    const data = join(directory, 'data')
    await mkdir(data, { recursive: true })
    const address = join(directory, 'redis.sock')
    const settings = {
      port: '0',
      unixsocket: address,
      dir: data,
      appendonly: 'yes',
      appendfsync: 'always',
      save: '',
      // A rewrite beside a measurement would be a measurement of two things.
      'auto-aof-rewrite-percentage': '0',
      maxclients: '4000',
    }
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
    const server = await ServerProcess.start(program('redis-server'), args)
    await server.answers(() => reach(address))
    return {
      address,
      pid: server.pid,
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    }
  },

  connect: async (address): Promise<Client> => {
    const { Redis } = (await fetchedPackage('ioredis')) as Ioredis
    const open = () => new Redis({ path: address, enableAutoPipelining: true })
    const connection = open()
    const followers = new Set<Connection>()
    return {
      append: (key, value) => connection.xadd(key, '*', 'v', value),
      put: (key, value) => connection.set(key, value),
      get: async (key) => (await connection.getBuffer(key)) ?? undefined,
      cached: async (action, compute) => {
        for (;;) {
          const there = await connection.getBuffer(`result/${action}`)
          if (there) return there
          const owner = randomUUID()
          const taken = await connection.set(`lock/${action}`, owner, 'PX', lockMs, 'NX')
          if (taken === null) {
            await delay(lockPauseMs)
            continue
          }
          try {
            // Somebody may have published between the look and the lock.
            const now = await connection.getBuffer(`result/${action}`)
            if (now) return now
            const bytes = await compute()
            await connection.set(`result/${action}`, bytes)
            return bytes
          } finally {
            await connection.eval(unlock, 1, `lock/${action}`, owner)
          }
        }
      },
      last: async (key, count) => {
        const read = connection.xrevrangeBuffer(key, '+', '-', 'COUNT', count)
        const entries = (await read) as readonly Entry[]
        return entries.flatMap(([, [, value]]) => (value ? [value] : [])).toReversed()
      },
      follow: async (key, onData) => {
        // A read that blocks holds its connection.
        const follower = open()
        followers.add(follower)
        try {
          for (let last: string | Buffer = '0'; ; ) {
            const read = follower.xreadBuffer('COUNT', readCount, 'BLOCK', 0, 'STREAMS', key, last)
            const [stream] = (await read) as Answer
            for (const [id, [, value]] of stream?.[1] ?? []) {
              last = id
              if (value && !onData(value)) return
            }
          }
        } finally {
          follower.disconnect()
          followers.delete(follower)
        }
      },
      [Symbol.asyncDispose]: async () => {
        connection.disconnect()
        for (const follower of followers) follower.disconnect()
      },
    }
  },
}
