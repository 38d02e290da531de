/** No single request keeps the event loop from the others for long: rfc/12, rule 33. */

import { expect, it } from 'vitest'
import { Stalling, stallBoundMs } from './stall.js'

it('a small read is no stall', async () => {
  await using serving = await Stalling.start(async (store) => {
    await store.put('a', 'x')
  })
  const stall = await serving.stallOf(async () => {
    expect((await serving.ask('GET', '/v1/kv/a')).status).toBe(200)
  })
  expect(stall.least).toBeLessThan(stallBoundMs)
})
