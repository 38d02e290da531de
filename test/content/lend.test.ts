/** Blobs that are lent and given back: a buffer is used again only when nobody has it. See rfc/3. */

import { expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { Content } from '../../src/content/content.js'
import type { Engine } from '../../src/engine/engine.js'
import { openLocal } from '../../src/engine/local-open.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { blobOf, temporaryDirectory } from '../engine/fixture.js'

const blobs = [1, 2, 3].map((byte) => blobOf(Buffer.alloc(blobSizeMax, byte)))
const refs = blobs.map(({ ref }) => ref)
const [first, second, third] = refs as [(typeof refs)[0], (typeof refs)[0], (typeof refs)[0]]

function expectIs(bytes: Uint8Array, byte: number): void {
  expect(Buffer.alloc(blobSizeMax, byte).equals(bytes)).toBe(true)
}

/** Loads all blobs once, so that the file is open and in the cache of the system. */
async function warm(engine: Engine): Promise<void> {
  await engine.put(blobs)
  for (const ref of refs) await engine.load([ref])
}

test('a lent blob stays as it is until it is given back; then its buffer is used again', async () => {
  await using directory = await temporaryDirectory()
  await using engine = await openLocal(directory.path, { environment: systemEnvironment })
  await warm(engine)
  const content = new Content(engine)
  const one = await content.lend(first)
  const two = await content.lend(second)
  expectIs(one, 1)
  expectIs(two, 2)
  expect(two.buffer === one.buffer).toBe(false)
  content.giveBack(one)
  const three = await content.lend(third)
  if (process.platform === 'linux') expect(three.buffer === one.buffer).toBe(true)
  expectIs(three, 3)
  expectIs(two, 2)
})

test('a blob is given back once', async () => {
  await using directory = await temporaryDirectory()
  await using engine = await openLocal(directory.path, { environment: systemEnvironment })
  await warm(engine)
  const content = new Content(engine)
  const one = await content.lend(first)
  content.giveBack(one)
  content.giveBack(one)
  const [two, three] = [await content.lend(second), await content.lend(third)]
  expect(two.buffer === three.buffer).toBe(false)
  expectIs(two, 2)
  expectIs(three, 3)
})

test('a blob of the cache, or one that was passed to others, is never used again', async () => {
  await using directory = await temporaryDirectory()
  await using engine = await openLocal(directory.path, { environment: systemEnvironment })
  await warm(engine)
  const content = new Content(engine)
  const cached = await content.load(first)
  const passed = await content.pass(second)
  expect(await content.lend(first)).toBe(cached)
  content.giveBack(cached)
  content.giveBack(passed)
  expectIs(await content.lend(third), 3)
  expectIs(cached, 1)
  expectIs(passed, 2)
})

test('two who lend the same blob have a buffer each', async () => {
  await using directory = await temporaryDirectory()
  await using engine = await openLocal(directory.path, { environment: systemEnvironment })
  await warm(engine)
  const content = new Content(engine)
  const [one, other] = await Promise.all([content.lend(first), content.lend(first)])
  content.giveBack(one)
  expectIs(await content.lend(second), 2)
  expectIs(other, 1)
})

test('an engine that keeps its blobs in memory has them as they were', async () => {
  const engine = new MemoryEngine(systemEnvironment)
  await engine.put(blobs)
  const content = new Content(engine)
  content.giveBack(await content.lend(first))
  expectIs(await content.lend(second), 2)
  expectIs(await content.lend(first), 1)
})

test('damaged bytes are not lent', async () => {
  const engine = new MemoryEngine(systemEnvironment)
  await engine.put([{ ref: first, bytes: Buffer.alloc(blobSizeMax, 9) }])
  await expect(new Content(engine).lend(first)).rejects.toMatchObject({ code: 'ECORRUPT' })
})
