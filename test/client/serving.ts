/** A real server over a real store (in memory), for the tests of the client. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type EmbeddedStore, type OpenOptions, open } from '../../src/open.js'
import { type Server, type ServerOptions, startServer } from '../../src/server/server.js'

export type Serving = AsyncDisposable & {
  readonly store: EmbeddedStore
  readonly server: Server
  readonly directory: string
  /** `unix:/path/to.sock` */
  readonly target: string
}

export async function serve(
  options: Partial<ServerOptions> = {},
  storeOptions: OpenOptions = {},
): Promise<Serving> {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-client-'))
  const store = await open(storeOptions)
  const server = await startServer(store, { directory, log: () => {}, ...options })
  return {
    store,
    server,
    directory,
    target: `unix:${server.socket}`,
    [Symbol.asyncDispose]: async () => {
      await server.stop()
      await store[Symbol.asyncDispose]()
      await rm(directory, { recursive: true, force: true })
    },
  }
}
