/** Gathered output is the same bytes in the same order, in blobs that are full when they leave. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { blobSizeMax } from '../../src/blob/blob.js'
import { decodeOutput, Gather, type Stream, streams } from '../../src/eventlog/stdio.js'

/** `takes`: what is gathered then is taken, full or not. */
type Written = { readonly stream: Stream; readonly bytes: Uint8Array; readonly takes: boolean }

/** Not of the period of anything else. */
const pattern = Buffer.from(Array.from({ length: 400_300 }, (_, index) => (index * 31) % 251))

const written: fc.Arbitrary<Written> = fc
  .record({
    stream: fc.constantFrom(...streams),
    size: fc.oneof(fc.nat({ max: 200 }), fc.constant(65_536), fc.nat({ max: 400_000 })),
    seed: fc.nat({ max: 255 }),
    takes: fc.boolean(),
  })
  .map(({ stream, size, seed, takes }) => ({
    ...{ stream, takes },
    bytes: pattern.subarray(seed, seed + size),
  }))

test('every byte leaves once, in order, at its offset, in full blobs unless they are taken before', () => {
  fc.assert(
    fc.property(fc.array(written, { maxLength: 12 }), (input) => {
      const gather = new Gather()
      const blobs: Uint8Array[] = []
      for (const { stream, bytes, takes } of input) {
        const full = gather.add(stream, bytes, 1)
        for (const blob of full) expect(blob.length).toBeGreaterThan(blobSizeMax - 100)
        blobs.push(...full)
        if (takes && gather.size > 0) blobs.push(gather.take())
      }
      if (gather.size > 0) {
        const { size } = gather
        blobs.push(gather.take())
        expect(blobs.at(-1)?.length).toBe(size)
      }
      const got = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] }
      const offsets = { stdout: 0, stderr: 0 }
      for (const blob of blobs) {
        expect(blob.length).toBeLessThanOrEqual(blobSizeMax)
        for (const event of decodeOutput(blob)) {
          if (event.type !== 'data') throw new Error(event.type)
          expect(event.offsets).toEqual(offsets)
          got[event.stream].push(event.data)
          offsets[event.stream] += event.data.length
        }
      }
      expect(gather.offsets).toEqual(offsets)
      for (const stream of streams) {
        const want = input.filter((one) => one.stream === stream).map((one) => one.bytes)
        expect(Buffer.compare(Buffer.concat(got[stream]), Buffer.concat(want))).toBe(0)
      }
    }),
    { numRuns: 40 },
  )
})

test('what was handed in may be written again', () => {
  const gather = new Gather()
  const chunk = Buffer.from('one')
  gather.add('stdout', chunk, 1)
  chunk.write('two')
  gather.add('stdout', chunk, 1)
  const [event] = decodeOutput(gather.take())
  expect(event?.type === 'data' && Buffer.from(event.data).toString()).toBe('onetwo')
})

test('a small blob does not pin a large buffer', () => {
  const gather = new Gather()
  gather.add('stdout', Buffer.from('line'), 1)
  const blob = gather.take()
  expect(blob.buffer.byteLength).toBe(blob.length)
})
