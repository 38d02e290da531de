/** An export that meets what it cannot read, embedded and over a server. See rfc/15, rule 18. */

import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { connect } from '../../src/client/node.js'
import { failureIn, failureSizeMax, Tail } from '../../src/export/failure.js'
import { skippedAtHead } from '../../src/export/format.js'
import { verifyExport } from '../../src/export/verify.js'
import { open } from '../../src/open.js'
import { startServer } from '../../src/server/server.js'
import { flip } from '../fsck/damage.js'
import { chunksOf } from '../kvs/contract-export.js'

let directory = ''
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-damaged-'))
  const store = await open({ directory })
  const value = randomBytes(200_000)
  for (let i = 0; i < 4; i++) await store.put(`first/${i}`, randomBytes(200_000))
  await store.put('second/hurt', value)
  await store.namespaces.create('small')
  await store.put('hurt', value.subarray(0, 30_000), { namespace: 'small' })
  await store[Symbol.asyncDispose]()
  await flip(directory, value.subarray(1_000, 1_100))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

/** The chunks that came, and what came after them. */
async function drain(chunks: AsyncIterable<Uint8Array>) {
  const got: Uint8Array[] = []
  try {
    for await (const chunk of chunks) got.push(chunk)
    return { got, error: undefined }
  } catch (error) {
    return { got, error }
  }
}

const told = {
  code: 'ECORRUPT',
  message: expect.stringMatching(/^"second\/hurt" cannot be read: .*fsck/),
}

it('names the code and the key, embedded and over a server, and in the stream', async () => {
  await using store = await open({ directory, cacheSize: 1 })
  const embedded = await drain(store.upkeep.export())
  expect(embedded.error).toMatchObject(told)
  expect(embedded.got.length).toBeGreaterThan(1)

  await using server = await startServer(store, { directory, log: () => {} })
  await using client = await connect(`unix:${server.socket}`)
  const remote = await drain(client.upkeep.export())
  expect(remote.error).toMatchObject(told)
  const bytes = Buffer.concat(remote.got)
  expect(bytes.equals(Buffer.concat(embedded.got))).toBe(true)
  await expect(verifyExport(chunksOf(bytes, 10_000))).rejects.toMatchObject({
    code: 'EINVAL',
    message: expect.stringContaining('"second/hurt" cannot be read'),
  })

  // Where nothing was sent yet it is the answer.
  const small = await drain(client.upkeep.export({ namespace: 'small' }))
  expect(small.got).toEqual([])
  expect(small.error).toMatchObject({
    code: 'ECORRUPT',
    message: expect.stringMatching(/^"hurt" /),
  })
})

it('leaves out what cannot be read, lists it, and is as whole as any', async () => {
  await using store = await open({ directory, cacheSize: 1 })
  await using server = await startServer(store, { directory, log: () => {} })
  await using client = await connect(`unix:${server.socket}`)
  const embedded = await drain(store.upkeep.export({ skipDamaged: true }))
  const remote = await drain(client.upkeep.export({ skipDamaged: true }))
  expect(remote.error).toBeUndefined()
  const bytes = Buffer.concat(remote.got)
  expect(bytes.equals(Buffer.concat(embedded.got))).toBe(true)

  const skipped = [
    { key: 'second/hurt', code: 'ECORRUPT', message: expect.stringContaining('do not match') },
  ]
  for (const size of [1_000_000, 7]) {
    const head = Buffer.from(bytes.subarray(0, 2_000))
    const cut = skippedAtHead(head.subarray(0, 40))
    expect(cut).toBeUndefined()
    expect(skippedAtHead(head)).toEqual(skipped)
    expect(await verifyExport(chunksOf(bytes, size))).toMatchObject({ keys: 4, skipped })
  }
  const imported = await client.upkeep.import(chunksOf(bytes), { namespace: 'rest' })
  expect(imported).toMatchObject({ skipped })
  const there = await store.list('', { namespace: 'rest', recursive: true })
  expect(there.entries.map(({ name }) => name).sort()).toEqual([
    'first',
    'first/0',
    'first/1',
    'first/2',
    'first/3',
    'second',
  ])
  // A tree without damage gives the stream that it always gave.
  const whole = await drain(store.upkeep.export({ namespace: 'rest' }))
  const skipping = await drain(store.upkeep.export({ namespace: 'rest', skipDamaged: true }))
  expect(Buffer.concat(skipping.got).equals(Buffer.concat(whole.got))).toBe(true)
})

it('the tail of a stream keeps its last bytes, however they come', () => {
  const all = randomBytes(3 * failureSizeMax)
  for (const size of [1_000, failureSizeMax, 2 * failureSizeMax]) {
    const tail = new Tail()
    for (let at = 0; at < all.length; at += size) tail.push(all.subarray(at, at + size))
    expect(Buffer.from(tail.bytes).equals(all.subarray(-failureSizeMax))).toBe(true)
  }
  expect(failureIn(all)).toBeUndefined()
  expect(failureIn(new Uint8Array(0))).toBeUndefined()
})
