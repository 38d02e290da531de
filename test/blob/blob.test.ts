/** The one cut rule, over bytes and over streams. See rfc/3. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { blobSizeMax, cut, cutStream } from '../../src/blob/blob.js'
import { inputOf } from './vectors.js'

test('the blob limit is 64 pages less a header', () => {
  expect(blobSizeMax).toBe(262_120)
})

/** Lengths on both sides of every multiple of the limit, and few. */
const length = fc
  .tuple(fc.nat({ max: 3 }), fc.integer({ min: -2, max: 2 }))
  .map(([blobs, beside]) => Math.max(0, blobs * blobSizeMax + beside))

test('cut() gives full blobs and then the rest, which joined are the value', () => {
  fc.assert(
    fc.property(length, (size) => {
      const value = inputOf(size)
      const pieces = cut(value)
      expect(pieces.slice(0, -1).every((piece) => piece.length === blobSizeMax)).toBe(true)
      expect(pieces.length).toBe(Math.max(1, Math.ceil(size / blobSizeMax)))
      expect(Buffer.concat(pieces).equals(value)).toBe(true)
    }),
    { numRuns: 30 },
  )
})

test('cutStream() gives the pieces of cut(), however the stream is chunked', async () => {
  await fc.assert(
    fc.asyncProperty(
      length,
      fc.array(fc.integer({ min: 0, max: blobSizeMax + 100 }), { minLength: 1, maxLength: 6 }),
      async (size, steps) => {
        const value = inputOf(size)
        const pieces = await collect(cutStream(chunked(value, steps)))
        expect(pieces.map((piece) => piece.length)).toEqual(cut(value).map((piece) => piece.length))
        expect(Buffer.concat(pieces).equals(value)).toBe(true)
      },
    ),
    { numRuns: 40 },
  )
})

test('cutStream() of no chunk and of empty chunks gives one empty piece', async () => {
  expect(await collect(cutStream(from([])))).toEqual([new Uint8Array(0)])
  expect(await collect(cutStream(from([new Uint8Array(0), new Uint8Array(0)])))).toEqual([
    new Uint8Array(0),
  ])
})

test('a piece of cutStream() is its own: the source may write its chunk again', async () => {
  const chunk = Buffer.alloc(1000, 1)
  const pieces = cutStream(
    (async function* () {
      yield chunk
      chunk.fill(2)
      yield chunk
    })(),
  )
  const [piece] = await collect(pieces)
  chunk.fill(3)
  expect([...new Set(piece)]).toEqual([1, 2])
  expect(piece?.buffer.byteLength).toBe(2000)
})

test('no two pieces of cutStream() share a buffer', async () => {
  const pieces = await collect(cutStream(from([inputOf(2 * blobSizeMax + 1)])))
  expect(new Set(pieces.map((piece) => piece.buffer)).size).toBe(3)
})

test('cutStream() reads no further than the piece that was asked for', async () => {
  let read = 0
  const source = (async function* () {
    for (;;) {
      read++
      yield Buffer.alloc(blobSizeMax)
    }
  })()
  const pieces = cutStream(source)
  await pieces.next()
  expect(read).toBe(1)
  await pieces.return(undefined)
  expect((await source.next()).done).toBe(true)
})

async function* from(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks
}

/** The value in chunks whose lengths go round through `steps`, the rest in one. */
function chunked(value: Uint8Array, steps: readonly number[]): AsyncGenerator<Uint8Array> {
  const chunks: Uint8Array[] = []
  let at = 0
  for (const step of steps) {
    chunks.push(value.subarray(at, at + step))
    at = Math.min(value.length, at + step)
  }
  chunks.push(value.subarray(at))
  return from(chunks)
}

async function collect(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const all: Uint8Array[] = []
  for await (const piece of pieces) all.push(piece)
  return all
}
