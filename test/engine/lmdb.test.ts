/** The LMDB engine: the contract, and what is particular to it: reopening, kill -9, the owner, the index
 *  behind, trimming, a full disk. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLmdb } from '../../src/engine/lmdb.js'
import { engineContract } from './contract.js'

engineContract('lmdb engine', async (environment) => {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-engine-'))
  return {
    engine: await openLmdb(directory, { environment }),
    clean: () => rm(directory, { recursive: true }),
  }
})
