/** Packed values, embedded and over a server. */

import { connect } from '../../src/client/node.js'
import { open } from '../../src/open.js'
import { openSocket, serve } from '../client/serving.js'
import { valuesContract } from './contract.js'

valuesContract('embedded in memory', async () => {
  const store = await open()
  return { store, close: () => store.close() }
})

valuesContract('over a server', async () => {
  const serving = await serve()
  const store = await connect(serving.target)
  await openSocket(store)
  return {
    store,
    close: async () => {
      await store.close()
      await serving[Symbol.asyncDispose]()
    },
  }
})
