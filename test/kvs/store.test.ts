/** The embedded store on every engine. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from '../../src/open.js'
import { watchContract } from '../watch/contract.js'
import { changesContract } from '../watch/contract-changes.js'
import { kvsContract, type Made } from './contract.js'

const onMemory = async (): Promise<Made> => {
  const store = await open()
  return { kvs: store, close: async () => store[Symbol.asyncDispose]() }
}

const onLmdb = async (): Promise<Made> => {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-kvs-'))
  const store = await open({ directory })
  return {
    kvs: store,
    close: async () => {
      await store[Symbol.asyncDispose]()
      await rm(directory, { recursive: true })
    },
  }
}

for (const contract of [kvsContract, watchContract, changesContract]) {
  contract('embedded on memory', onMemory)
  contract('embedded on LMDB', onLmdb)
}
