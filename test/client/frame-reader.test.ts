/** The frames of a websocket, read in pieces of any size. See RFC 6455, 5.2, and rfc/12, rule 37. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FrameReader } from '../../src/client/frame-reader.js'

type Frame = { readonly first: number; readonly key: number | undefined; readonly payload: Buffer }

const wholeBinary = 0x82
const sizeMax = 70_000

function encode({ first, key, payload }: Frame): Buffer {
  const { length } = payload
  const mask = key === undefined ? 0 : 0x80
  const head = Buffer.alloc(length < 126 ? 2 : length < 0x1_0000 ? 4 : 10)
  head[0] = first
  head[1] = mask | (length < 126 ? length : length < 0x1_0000 ? 126 : 127)
  if (head.length === 4) head.writeUInt16BE(length, 2)
  if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2)
  return Buffer.concat([head, ...(key === undefined ? [] : [Buffer.alloc(4, key)]), payload])
}

/** Cuts bytes at the places, and reads them from one buffer, which is used for all pieces. */
function read(bytes: Buffer, cuts: readonly number[]) {
  const messages: Buffer[] = []
  const others: Buffer[] = []
  const reader = new FrameReader({
    sizeMax,
    allocate: Buffer.alloc,
    received: (message) => messages.push(message),
    others: (part) => others.push(part),
  })
  const shared = Buffer.alloc(bytes.length)
  const places = [...cuts.map((cut) => cut % (bytes.length + 1)), 0, bytes.length]
  places.sort((a, b) => a - b)
  for (const [index, end] of places.slice(1).entries()) {
    const size = bytes.copy(shared, 0, places[index], end)
    reader.take(shared.subarray(0, size))
    shared.fill(0xee)
  }
  return { messages, others: Buffer.concat(others) }
}

const size = fc.oneof(
  fc.nat(300),
  fc.constantFrom(125, 126, 0xffff, 0x1_0000, sizeMax, sizeMax + 1),
)
const payload = fc.tuple(size, fc.nat(255)).map(([length, byte]) => Buffer.alloc(length, byte))
const whole = payload.map((each): Frame => ({ first: wholeBinary, key: undefined, payload: each }))
const strange = fc
  .record({
    first: fc.constantFrom(0x81, 0x88, 0x89, 0x8a, 0xc2, wholeBinary),
    key: fc.nat(255),
    payload,
  })
  .map((each): Frame => each)
const controls = fc
  .tuple(fc.constantFrom(0x89, 0x8a), fc.nat(125))
  .map(([first, length]): Frame => ({ first, key: undefined, payload: Buffer.alloc(length, 1) }))

describe('FrameReader', () => {
  it('takes whole binary frames, and passes all others on as they came', () => {
    const frames = fc.array(fc.oneof(whole, whole, strange, controls), { maxLength: 12 })
    fc.assert(
      fc.property(frames, fc.array(fc.nat(), { maxLength: 20 }), (all, cuts) => {
        const isOurs = ({ first, key, payload: { length } }: Frame) =>
          first === wholeBinary && key === undefined && length <= sizeMax
        const { messages, others } = read(Buffer.concat(all.map(encode)), cuts)
        const ours = all.filter(isOurs).map((frame) => frame.payload)
        expect(messages.map(({ length }) => length)).toEqual(ours.map(({ length }) => length))
        expect(Buffer.concat(messages).equals(Buffer.concat(ours))).toBe(true)
        const rest = Buffer.concat(all.filter((frame) => !isOurs(frame)).map(encode))
        expect(others.equals(rest)).toBe(true)
      }),
    )
  })

  it('passes a message in several frames on, with what stands between them', () => {
    const part = (first: number, text: string): Frame => ({
      first,
      key: undefined,
      payload: Buffer.from(text),
    })
    const parts = [part(0x02, 'a'), part(0x89, 'ping'), part(0x00, 'b'), part(0x80, 'c')]
    const all = [part(wholeBinary, 'before'), ...parts, part(wholeBinary, 'behind')]
    const bytes = Buffer.concat(all.map(encode))
    for (let cut = 0; cut <= bytes.length; cut++) {
      const { messages, others } = read(bytes, [cut])
      expect(messages.map(String)).toEqual(['before', 'behind'])
      expect(others.equals(Buffer.concat(parts.map(encode)))).toBe(true)
    }
  })

  it('passes a whole frame within a message in several frames on: it is an error', () => {
    const bytes = Buffer.concat([
      encode({ first: 0x02, key: undefined, payload: Buffer.from('a') }),
      encode({ first: wholeBinary, key: undefined, payload: Buffer.from('b') }),
    ])
    const { messages, others } = read(bytes, [])
    expect(messages).toEqual([])
    expect(others.equals(bytes)).toBe(true)
  })
})
