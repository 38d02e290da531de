/** The npm server of Durable Streams, on files; streams are logs, and there are no values by key.
 *  Its client merges appends to one stream that are in flight together into one request. */

import { join } from 'node:path'
import { fetchedPackage, found, peersDirectory } from './fetched.js'
import { freePort, reach, ServerProcess } from './server-process.js'
import type { Client, System } from './system.js'

/** The program of the server, which is a library. With the 100 open files of its default it answers
 *  404 when more streams are appended to at once. Compression would cost it CPU for nothing. */
const serverCode = `
  import { DurableStreamTestServer, FileBackedStreamStore } from '@durable-streams/server'
  const [dataDir, port] = process.argv.slice(1)
  const options = { port: Number(port), host: '127.0.0.1', compression: false }
  const server = new DurableStreamTestServer(options)
  server.store = new FileBackedStreamStore({ dataDir, maxFileHandles: 4000 })
  await server.start()`

const contentType = 'application/octet-stream'

type Handle = { append(data: Uint8Array): Promise<unknown> }
type Session = {
  bodyStream(): AsyncIterable<Uint8Array>
  cancel(): void
  readonly closed: Promise<void>
}
type Package = {
  readonly DurableStream: { create(options: object): Promise<Handle> }
  stream(options: object): Promise<Session>
}

export const durableStreams: System = {
  id: 'durable-streams',
  title: 'durable-streams',
  durability: 'the npm server on files, each append synced; @durable-streams/client over TCP',
  keyed: false,
  orderedSizeMax: Number.POSITIVE_INFINITY,
  watchersMax: 100,
  sharedWatches: true,
  found: () => found('durable-streams'),

  start: async (directory) => {
    const port = await freePort()
    const args = [
      '--input-type=module',
      '--eval',
      serverCode,
      join(directory, 'data'),
      String(port),
    ]
    const server = await ServerProcess.start(process.execPath, args, { cwd: peersDirectory })
    await server.answers(() => reach(port))
    return {
      address: `http://127.0.0.1:${port}`,
      pid: server.pid,
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    }
  },

  connect: async (address): Promise<Client> => {
    const { DurableStream, stream } = (await fetchedPackage('@durable-streams/client')) as Package
    const handles = new Map<string, Promise<Handle>>()
    const urlOf = (key: string) => `${address}/${key}`
    const handleOf = (key: string) => {
      const known = handles.get(key)
      if (known) return known
      const handle = DurableStream.create({ url: urlOf(key), contentType })
      handles.set(key, handle)
      return handle
    }
    const none = () => Promise.reject(new Error('it has no values by key'))
    return {
      append: async (key, value) => (await handleOf(key)).append(value),
      put: none,
      get: none,
      follow: async (key, onData) => {
        await handleOf(key)
        const session = await stream({ url: urlOf(key), live: 'long-poll' })
        session.closed.catch(() => {}) // it rejects when it is cancelled
        try {
          for await (const data of session.bodyStream()) if (!onData(data)) return
        } finally {
          session.cancel()
        }
      },
      [Symbol.asyncDispose]: async () => {},
    }
  },
}
