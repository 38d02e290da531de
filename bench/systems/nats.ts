/** NATS JetStream: a stream whose subjects are the logs, a key-value bucket; one server, files,
 *  each write synced. */

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fetchedPackage, found, program } from './fetched.js'
import { freePort, reach, ServerProcess } from './server-process.js'
import type { Client, System } from './system.js'

/** Messages that a consumer asks for ahead: at 64 KiB each 13 MB. */
const aheadMax = 200
/** Watchers of a stream, those that left a moment ago included; the default is 1,000. */
const consumersMax = 10_000

type Connection = { close(): Promise<void> }
type Messages = AsyncIterable<{ readonly data: Uint8Array }> & { close(): Promise<unknown> }
type JetStream = {
  publish(subject: string, data: Uint8Array): Promise<unknown>
  readonly consumers: {
    get(stream: string, options: object): Promise<{ consume(options: object): Promise<Messages> }>
  }
}
type Bucket = {
  put(key: string, value: Uint8Array): Promise<unknown>
  get(key: string): Promise<{ readonly value: Uint8Array } | null>
}
type Transport = { connect(options: object): Promise<Connection> }
type JetStreamPackage = {
  jetstream(connection: Connection): JetStream
  jetstreamManager(
    connection: Connection,
    options: object,
  ): Promise<{ readonly streams: { add(options: object): Promise<unknown> } }>
}
type KvPackage = {
  readonly Kvm: new (
    connection: Connection,
  ) => {
    create(name: string, options: object): Promise<Bucket>
    open(name: string): Promise<Bucket>
  }
}

export const nats: System = {
  id: 'nats',
  title: 'NATS JetStream',
  durability: 'one server, files, sync_interval always; @nats-io/transport-node over TCP',
  keyed: true,
  orderedSizeMax: Number.POSITIVE_INFINITY,
  watchersMax: 1_000,
  sharedWatches: true,
  found: () => found('nats'),

  start: async (directory) => {
    const port = await freePort()
    const file = join(directory, 'nats.conf')
    const storage = JSON.stringify(join(directory, 'data'))
    const jetstream = `jetstream { store_dir: ${storage}, sync_interval: always }`
    await writeFile(file, `listen: "127.0.0.1:${port}"\n${jetstream}\n`)
    const server = await ServerProcess.start(program('nats-server'), ['-c', file])
    const address = `127.0.0.1:${port}`
    await server.answers(() => reach(port))
    await server.answers(() => prepare(address))
    return {
      address,
      pid: server.pid,
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    }
  },

  connect: async (address): Promise<Client> => {
    const connection = await open(address)
    const { jetstream } = (await fetchedPackage('@nats-io/jetstream')) as JetStreamPackage
    const { Kvm } = (await fetchedPackage('@nats-io/kv')) as KvPackage
    const stream = jetstream(connection)
    const bucket = await new Kvm(connection).open('values')
    return {
      append: (key, value) => stream.publish(subjectOf(key), value),
      put: (key, value) => bucket.put(key, value),
      get: async (key) => (await bucket.get(key))?.value,
      follow: async (key, onData) => {
        const options = { filter_subjects: [subjectOf(key)] }
        const consumer = await stream.consumers.get('logs', options)
        const messages = await consumer.consume({ max_messages: aheadMax })
        try {
          for await (const { data } of messages) if (!onData(data)) return
        } finally {
          await messages.close()
        }
      },
      [Symbol.asyncDispose]: () => connection.close(),
    }
  },
}

async function open(address: string): Promise<Connection> {
  const { connect } = (await fetchedPackage('@nats-io/transport-node')) as Transport
  return connect({ servers: address })
}

/** Makes the stream and the bucket. */
async function prepare(address: string): Promise<void> {
  const connection = await open(address)
  try {
    const { jetstreamManager } = (await fetchedPackage('@nats-io/jetstream')) as JetStreamPackage
    const { Kvm } = (await fetchedPackage('@nats-io/kv')) as KvPackage
    const manager = await jetstreamManager(connection, { checkAPI: false })
    const stream = { name: 'logs', subjects: ['logs.>'], storage: 'file' }
    await manager.streams.add({ ...stream, max_consumers: consumersMax })
    await new Kvm(connection).create('values', { history: 1, storage: 'file' })
  } finally {
    await connection.close()
  }
}

function subjectOf(key: string): string {
  return `logs.${key.replaceAll('/', '.')}`
}
