/** A log larger than the cache, read from its start over a websocket and over HTTP: buffers that the
 *  server uses again must not change what a client gets, however slow it is and however many there
 *  are. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { connect } from '../../src/client/node.js'
import { cacheSizeDefault } from '../../src/content/content.js'
import { type Serving, serve } from '../client/serving.js'

/** More than the cache by 10 MiB: so many are read from the disk. */
const count = Math.ceil((cacheSizeDefault + 10 * 1024 * 1024) / blobSizeMax)
const contentOf = (index: number) => Buffer.alloc(blobSizeMax, `blob ${index} `)

let directory: string
let serving: Serving

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-replay-'))
  serving = await serve({}, { directory })
  for (let index = 0; index < count; index++) await serving.store.append('log', contentOf(index))
})
afterAll(async () => {
  await serving?.[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
})

/** Reads the log, and returns what was received. All events are kept until the end. */
async function readAll(store: Store): Promise<Uint8Array[]> {
  const all: Uint8Array[] = []
  for await (const event of store.watch('log', { mode: 'append' })) {
    if (event.type === 'append' && all.push(event.data) === count) break
  }
  return all
}

function expectLog(all: readonly Uint8Array[]): void {
  expect(all.length).toBe(count)
  for (const [index, data] of all.entries()) expect(contentOf(index).equals(data)).toBe(true)
}

it('gives one client every byte', async () => {
  await using store = await connect(serving.target)
  expectLog(await readAll(store))
})

it('gives several clients, and a reader in the same process, every byte', async () => {
  await using one = await connect(serving.target)
  await using other = await connect(serving.target)
  const stores = [one, other, serving.store]
  for (const all of await Promise.all(stores.map(readAll))) expectLog(all)
})

it('gives every byte to clients that come while another one reads', async () => {
  await using store = await connect(serving.target)
  const reads: Promise<Uint8Array[]>[] = []
  let index = 0
  for await (const event of store.watch('log', { mode: 'append' })) {
    if (event.type !== 'append') continue
    expect(contentOf(index).equals(event.data)).toBe(true)
    if (index % 20 === 10) reads.push(readAll(index % 40 === 10 ? store : serving.store))
    if (++index === count) break
  }
  for (const all of await Promise.all(reads)) expectLog(all)
})

/** Reads the log as one value, and returns the pieces, kept until the end. */
async function getAll(store: Store, offset = 0): Promise<Buffer> {
  const reading = await store.read('log', { from: offset })
  const pieces: Uint8Array[] = []
  for await (const piece of reading?.chunks ?? []) pieces.push(piece)
  return Buffer.concat(pieces)
}

it('gives every byte of it as one value to several who read at once, from any offset', async () => {
  await using one = await connect(serving.target)
  await using other = await connect(serving.target)
  const whole = Buffer.concat(Array.from({ length: count }, (_, index) => contentOf(index)))
  const reads = [one, other, serving.store].flatMap((store) =>
    [0, 1, blobSizeMax + 7].map(async (offset) => {
      expect(whole.subarray(offset).equals(await getAll(store, offset))).toBe(true)
    }),
  )
  await Promise.all(reads)
})

it('gives every byte of it as one value to a client that waits between the pieces', async () => {
  await using store = await connect(serving.target)
  const reading = await store.read('log')
  let at = 0
  for await (const piece of reading?.chunks ?? []) {
    const index = Math.floor(at / blobSizeMax)
    const both = Buffer.concat([contentOf(index), contentOf(index + 1)])
    const begin = at - index * blobSizeMax
    expect(both.subarray(begin, begin + piece.length).equals(piece)).toBe(true)
    at += piece.length
    await turn()
  }
  expect(at).toBe(count * blobSizeMax)
})
