/** The result cache, embedded on each engine and over a server. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from '../../src/client/node.js'
import { open } from '../../src/open.js'
import { openSocket, serve } from '../client/serving.js'
import { cacheContract, type Shared } from './contract.js'

cacheContract('embedded in memory', async (): Promise<Shared> => {
  const store = await open()
  return { stores: [store, store], close: () => store.close() }
})

cacheContract('embedded on disk', async (): Promise<Shared> => {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-cache-'))
  const store = await open({ directory })
  return {
    stores: [store, store],
    close: async () => {
      await store.close()
      await rm(directory, { recursive: true })
    },
  }
})

cacheContract('by two clients over a server', async (): Promise<Shared> => {
  const serving = await serve()
  const [first, second] = [await connect(serving.target), await connect(serving.target)]
  for (const client of [first, second]) await openSocket(client)
  return {
    stores: [first, second],
    close: async () => {
      await Promise.all([first.close(), second.close()])
      await serving[Symbol.asyncDispose]()
    },
  }
})
