/** The content store on the memory engine: verified, cached, each ref loaded once. See rfc/3. */

import { expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import type { Blob } from '../../src/blob/blob.js'
import { type Blobref, blobrefOfHex } from '../../src/blob/blobref.js'
import { hashBlob, hashNode } from '../../src/blob/hash.js'
import { entryCost } from '../../src/content/cache.js'
import { Content } from '../../src/content/content.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { TailraceError } from '../../src/error.js'

const nowhere = blobrefOfHex('0'.repeat(64))

function blobOf(text: string): Blob {
  const bytes = Buffer.from(text)
  return { ref: hashBlob(bytes), bytes }
}

function nodeOf(text: string): Blob {
  const bytes = Buffer.from(text)
  return { ref: hashNode(bytes), bytes, kind: 'node' }
}

/** A blob of `size` bytes in a buffer of its own. */
function filled(size: number, byte: number): Blob {
  const bytes = new Uint8Array(size).fill(byte)
  return { ref: hashBlob(bytes), bytes }
}

test('load() gives the bytes that the engine has', async () => {
  const engine = new MemoryEngine(systemEnvironment)
  const blob = blobOf('one')
  const node = nodeOf('two')
  await engine.put([blob, node])
  const content = new Content(engine)
  expect(Buffer.from(await content.load(blob.ref)).toString()).toBe('one')
  expect(Buffer.from(await content.loadNode(node.ref)).toString()).toBe('two')
})

test('a ref is loaded once, however many ask at once and later', async () => {
  const engine = new MemoryEngine(systemEnvironment)
  const blob = blobOf('one')
  await engine.put([blob])
  const content = new Content(engine)
  const loads = await Promise.all(Array.from({ length: 100 }, () => content.load(blob.ref)))
  await content.load(blob.ref)
  expect(new Set(loads).size).toBe(1)
  expect(content.loads).toBe(1)
})

test('a ref that is not there is EDANGLING for all who ask, asked for once, and looked for again', async () => {
  const engine = new MemoryEngine(systemEnvironment)
  const content = new Content(engine)
  const blob = blobOf('one')
  const asked = await Promise.allSettled([1, 2, 3].map(() => content.load(blob.ref)))
  for (const answer of asked) {
    expect(answer).toMatchObject({ status: 'rejected', reason: { code: 'EDANGLING' } })
  }
  expect(content.loads).toBe(1)
  await engine.put([blob])
  expect(await content.load(blob.ref)).toEqual(blob.bytes)
})

test('bytes that do not match their ref are ECORRUPT, are not kept, and heal with the engine', async () => {
  const engine = new Rotting(systemEnvironment)
  const content = new Content(engine)
  const blob = blobOf('one')
  const node = nodeOf('two')
  await engine.put([blob, node])
  engine.rotten = true
  for (let times = 0; times < 2; times++) {
    await expect(content.load(blob.ref)).rejects.toMatchObject({ code: 'ECORRUPT' })
    await expect(content.loadNode(node.ref)).rejects.toMatchObject({ code: 'ECORRUPT' })
  }
  expect(content.cached).toBe(0)
  engine.rotten = false
  expect(await content.load(blob.ref)).toEqual(blob.bytes)
  expect(await content.loadNode(node.ref)).toEqual(node.bytes)
})

/** An engine whose disk gives other bytes than were stored, for as long as it is said to. */
class Rotting extends MemoryEngine {
  rotten = false

  override async load(refs: readonly Blobref[]): Promise<(Uint8Array | undefined)[]> {
    const loaded = await super.load(refs)
    if (!this.rotten) return loaded
    return loaded.map((bytes) => bytes?.map((byte) => byte ^ 1))
  }
}

test('an error of the engine reaches everyone who asked', async () => {
  const engine = new MemoryEngine(systemEnvironment)
  await engine[Symbol.asyncDispose]()
  const content = new Content(engine)
  const asked = await Promise.allSettled([content.load(nowhere), content.load(nowhere)])
  for (const answer of asked) {
    expect(answer).toMatchObject({ status: 'rejected', reason: { code: 'ECLOSED' } })
  }
  await expect(content.put([blobOf('one')])).rejects.toMatchObject({ code: 'ECLOSED' })
  expect(content.cached).toBe(0)
})

test('a value is no node and a node is no value: loaded, in memory, and both at once', async () => {
  const engine = new MemoryEngine(systemEnvironment)
  const blob = blobOf('one')
  const node = nodeOf('two')
  await engine.put([blob, node])
  const fresh = () => new Content(engine)
  const warm = () => {
    const content = fresh()
    content.remember([blob, node])
    return content
  }
  for (const content of [fresh(), warm()]) {
    const [wrongNode, rightBlob] = await both(content.loadNode(blob.ref), content.load(blob.ref))
    expect(wrongNode).toMatchObject({ reason: { code: 'ECORRUPT' } })
    expect(rightBlob).toMatchObject({ value: blob.bytes })
    const [rightNode, wrongBlob] = await both(content.loadNode(node.ref), content.load(node.ref))
    expect(wrongBlob).toMatchObject({ reason: { code: 'ECORRUPT' } })
    expect(rightNode).toMatchObject({ value: node.bytes })
    expect(content.peekNode(blob.ref)).toBeUndefined()
    expect(content.peekNode(node.ref)).toEqual(node.bytes)
  }
})

test('a node that was remembered without its kind is checked once and then a node', async () => {
  const content = new Content(new MemoryEngine(systemEnvironment))
  const { ref, bytes } = nodeOf('two')
  content.remember([{ ref, bytes }])
  expect(content.peekNode(ref)).toBeUndefined()
  expect(await content.loadNode(ref)).toEqual(bytes)
  expect(content.peekNode(ref)).toEqual(bytes)
  expect(content.loads).toBe(0)
})

test('what was just put is in memory', async () => {
  const engine = new MemoryEngine(systemEnvironment)
  const content = new Content(engine)
  const blob = blobOf('one')
  await content.put([blob])
  expect(await content.load(blob.ref)).toEqual(blob.bytes)
  expect(content.loads).toBe(0)
  expect(await engine.load([blob.ref])).toEqual([blob.bytes])
})

test('the cache holds at most its bytes; the least recently used go first', async () => {
  const engine = new MemoryEngine(systemEnvironment)
  const blobs = Array.from({ length: 10 }, (_, index) => filled(1000, index))
  const cacheSize = 4 * (1000 + entryCost)
  const content = new Content(engine, { cacheSize })
  for (const blob of blobs) {
    await content.put([blob])
    await content.load(refOf(blobs, 0)) // used each time: it stays
    expect(content.cached).toBeLessThanOrEqual(cacheSize)
  }
  expect(content.cached).toBe(cacheSize)
  const loads = content.loads
  for (const index of [0, 9, 8, 7]) await content.load(refOf(blobs, index))
  expect(content.loads).toBe(loads)
  await content.load(refOf(blobs, 1))
  expect(content.loads).toBe(loads + 1)
})

test('a blob that fits the cache to the byte is kept, one that is larger is given and not kept', async () => {
  const engine = new MemoryEngine(systemEnvironment)
  const content = new Content(engine, { cacheSize: 1000 + entryCost })
  const fits = filled(1000, 1)
  const larger = filled(1001, 2)
  await content.put([fits])
  expect(content.cached).toBe(1000 + entryCost)
  await content.put([larger])
  expect(await content.load(larger.ref)).toEqual(larger.bytes)
  expect(await content.load(larger.ref)).toEqual(larger.bytes)
  expect(content.loads).toBe(2)
  expect(content.cached).toBeLessThanOrEqual(1000 + entryCost)
})

test('many loads at once through a cache too small for any all get their bytes', async () => {
  const engine = new MemoryEngine(systemEnvironment)
  const blobs = Array.from({ length: 50 }, (_, index) => filled(300, index))
  await engine.put(blobs)
  const content = new Content(engine, { cacheSize: 1 })
  const loaded = await Promise.all(blobs.map((blob) => content.load(blob.ref)))
  expect(loaded).toEqual(blobs.map((blob) => blob.bytes))
  expect(content.cached).toBe(0)
})

test('a small blob does not keep the request that it came with in memory', async () => {
  const request = Buffer.alloc(12 * 1024 * 1024, 7)
  const bytes = request.subarray(1000, 1100)
  const content = new Content(new MemoryEngine(systemEnvironment))
  const ref = hashBlob(bytes)
  content.remember([{ ref, bytes }])
  expect(content.cached).toBe(100 + entryCost)
  const kept = await content.load(ref)
  expect(kept.buffer.byteLength).toBe(100)
  request.fill(8)
  expect(hashBlob(kept)).toBe(ref)
})

test('a blob that fills half of its buffer is not copied, and the buffer is what counts', async () => {
  const bytes = Buffer.alloc(2000, 7).subarray(0, 1000)
  const content = new Content(new MemoryEngine(systemEnvironment))
  const whole = Buffer.allocUnsafeSlow(2000).fill(7).subarray(0, 1000)
  const ref = hashBlob(bytes)
  content.remember([{ ref, bytes: whole }])
  expect(await content.load(ref)).toBe(whole)
  expect(content.cached).toBe(2000 + entryCost)
})

test.each([0, -1, 1.5, Number.NaN])('a cache of %d bytes is EINVAL', (cacheSize) => {
  expect(() => new Content(new MemoryEngine(systemEnvironment), { cacheSize })).toThrow(
    TailraceError,
  )
})

function refOf(blobs: readonly Blob[], index: number): Blobref {
  const blob = blobs[index]
  if (!blob) throw new Error(`no blob ${index}`)
  return blob.ref
}

function both<T>(one: Promise<T>, other: Promise<T>): Promise<PromiseSettledResult<T>[]> {
  return Promise.allSettled([one, other])
}
