/** Exports and imports over a connection that breaks. See rfc/12, rfc/15. */

import { randomBytes } from 'node:crypto'
import { beforeEach, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import { deferred } from '../../src/base/deferred.js'
import { chunksOf, joined } from '../kvs/contract-export.js'
import { refusal } from '../kvs/expect.js'
import type { CuttingProxy } from './cutting-proxy.js'
import { type Serving, serveCutting } from './serving.js'

let serving: Serving
let proxy: CuttingProxy
let client: Store

beforeEach(async () => {
  const served = await serveCutting()
  ;({ serving, proxy, client } = served)
  return served.end
})

it('an import that is cut in the middle imports nothing', async () => {
  await serving.store.put('k', randomBytes(5_000_000))
  const stream = await joined(serving.store.upkeep.export())
  const { seq } = await serving.store.root()
  const cut = (async function* () {
    yield* chunksOf(stream.subarray(0, stream.length >> 1))
    proxy.cut()
    yield* chunksOf(stream.subarray(stream.length >> 1))
  })()
  const error = await refusal(client.upkeep.import(cut, { namespace: 'copy' }))
  expect(['EUNKNOWN', 'ECLOSED']).toContain(error.code)
  expect((await serving.store.namespaces.list()).map(({ name }) => name)).not.toContain('copy')
  expect((await serving.store.root()).seq).toBe(seq)
  // The next one goes through.
  await client.upkeep.import(chunksOf(stream), { namespace: 'copy' })
  expect((await client.stat('/', { namespace: 'copy' }))?.ref).toBe((await client.stat('/'))?.ref)
})

it('an export that is cut says so, and never looks whole', async () => {
  await serving.store.put('k', chunksOf(randomBytes(20_000_000)))
  let size = 0
  const reading = (async () => {
    for await (const chunk of client.upkeep.export()) {
      if (size === 0) proxy.cut()
      size += chunk.length
    }
  })()
  expect(await refusal(reading)).toMatchObject({ code: 'ECLOSED' })
  expect(size).toBeLessThan(20_000_000)
})

it('a reader that stops early leaves nothing behind, a caller that aborts neither', async () => {
  await serving.store.put('k', chunksOf(randomBytes(20_000_000)))
  for await (const _ of client.upkeep.export()) break
  const abort = new AbortController()
  const reading = (async () => {
    for await (const _ of client.upkeep.export({ signal: abort.signal })) abort.abort()
  })()
  expect(await refusal(reading)).toMatchObject({ code: 'ECANCELED' })
  const leave = new AbortController()
  const endless = (async function* () {
    yield* chunksOf((await joined(serving.store.upkeep.export())).subarray(0, 1_000_000))
    leave.abort()
    await deferred<void>().promise // for ever
  })()
  const importing = client.upkeep.import(endless, { namespace: 'copy', signal: leave.signal })
  expect(await refusal(importing)).toMatchObject({ code: 'ECANCELED' })
  expect((await client.namespaces.list()).map(({ name }) => name)).not.toContain('copy')
})

it('reserved namespaces go out, and nothing comes into them', async () => {
  const stream = await joined(client.upkeep.export({ namespace: 'jobs' }))
  for (const namespace of ['jobs', 'system']) {
    expect(await refusal(client.upkeep.import(chunksOf(stream), { namespace }))).toMatchObject({
      code: 'EPERM',
    })
  }
})

it('an import that is refused at its first bytes says why, however much was still to come', async () => {
  await serving.store.put('k', randomBytes(1_000_000))
  const stream = await joined(client.upkeep.export())
  const long = (async function* () {
    yield* chunksOf(stream.subarray(0, 200))
    for (let at = 0; at < 100; at++) yield Buffer.alloc(1_000_000, at)
  })()
  expect(await refusal(client.upkeep.import(long))).toMatchObject({ code: 'ENOTEMPTY' })
})
