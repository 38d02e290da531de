/** Frames of both subprotocols: golden bytes, and that every frame arrives as it was. */

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { blobrefOfHex } from '../../src/blob/blobref.js'
import { toJson } from '../../src/wire/bytes.js'
import {
  parseRequest,
  parseResponse,
  type RequestFrame,
  type ResponseFrame,
  requestIdOf,
  subprotocol,
  subprotocolJson,
} from '../../src/wire/frames.js'
import { decodeMessage, encodeMessage, headOfShared, shareFrame } from '../../src/wire/messages.js'

const ref = blobrefOfHex('ab'.repeat(32))
const position = { incarnation: '00ff', index: 3, prefix: ref }

const requests: RequestFrame[] = [
  { id: 1, op: 'auth', token: 't' },
  { id: 2, op: 'watch', key: 'a/b', mode: 'append' },
  {
    id: 3,
    op: 'watch',
    key: 'a',
    namespace: 'ns',
    mode: 'value',
    waitCreate: true,
    uniq: true,
    credit: 0,
  },
  { id: 4, op: 'watch', key: 'a', mode: 'append', from: { offset: 12 } },
  { id: 4, op: 'watch', key: 'a', mode: 'append', from: -3 },
  { id: 5, op: 'watch', key: 'a', mode: 'append', from: position },
  { id: 6, op: 'credit', bytes: 1000 },
  { id: 7, op: 'cancel' },
  { id: 8, op: 'txn', namespace: 'ns', body: { ops: [] } },
  { id: 2 ** 40, op: 'root', body: { waitSeq: 2 ** 40 } },
]

const responses: ResponseFrame[] = [
  { id: 1, type: 'append', index: 3, offset: 9, seq: 4, position, data: Buffer.from([1, 2]) },
  {
    id: 1,
    type: 'append',
    index: 3,
    offset: 9,
    seq: 4,
    position,
    more: true,
    data: Buffer.alloc(0),
  },
  { id: 1, type: 'value', seq: 4, ref, size: 2, data: Buffer.from('hi') },
  { id: 1, type: 'value', seq: 4, ref, size: 1_000_000, skipped: true },
  { id: 1, type: 'live', position },
  { id: 1, type: 'end', reason: 'sealed', position },
  { id: 1, type: 'end', reason: 'canceled' },
  { id: 1, type: 'error', code: 'ECONFLICT', message: 'no', failed: { guard: 0, state: null } },
  { id: 0, type: 'error', code: 'EINVAL', message: 'no' },
  { id: 1, type: 'result', body: { seq: 1, values: [Buffer.from([255]), null] } },
]

describe.each([subprotocol, subprotocolJson] as const)('%s', (protocol) => {
  it.each(requests)('brings $op $id to the server', (request) => {
    const frame = decodeMessage(encodeMessage(request, protocol))
    expect(requestIdOf(frame)).toBe(request.id)
    expect(toJson(parseRequest(frame))).toEqual(toJson(request))
  })

  it.each(responses)('brings $type to the client', (response) => {
    const frame = parseResponse(decodeMessage(encodeMessage(response, protocol)))
    // What a result holds is read by the schema of its request.
    if (frame.type === 'result') expect(toJson(frame)).toEqual(toJson(response))
    else expect(frame).toEqual(response)
  })
})

describe('golden frames', () => {
  it('a credit', () => {
    const frame: RequestFrame = { id: 1, op: 'credit', bytes: 100 }
    const bytes = Buffer.from(encodeMessage(frame, subprotocol))
    expect(bytes.toString('hex')).toBe('83a2696401a26f70a6637265646974a5627974657364')
    expect(encodeMessage(frame, subprotocolJson)).toBe('{"id":1,"op":"credit","bytes":100}')
  })

  it('bytes in JSON', () => {
    const frame: ResponseFrame = {
      id: 1,
      type: 'value',
      seq: 2,
      ref,
      size: 1,
      data: Buffer.from([255]),
    }
    expect(encodeMessage(frame, subprotocolJson)).toBe(
      `{"id":1,"type":"value","seq":2,"ref":"${ref}","size":1,"data":{"base64":"/w=="}}`,
    )
  })
})

describe('shareFrame()', () => {
  const joined = (frame: ResponseFrame, room = 0): Buffer => {
    const { id, ...rest } = frame
    const shared = shareFrame(rest)
    return Buffer.concat([headOfShared(shared, id, room).subarray(room), shared.tail, shared.data])
  }
  const appended = (id: number, data: Uint8Array): ResponseFrame => ({
    id,
    type: 'append',
    index: 3,
    offset: 7,
    seq: 1,
    position,
    more: true,
    data,
  })

  it.each([0, 1, 0xff, 0x100, 0xffff, 0x1_0000, 262_120])(
    'of %i bytes is the same message, whatever the id',
    (length) => {
      for (const id of [1, 0x7f, 0x80, 0xffff, 0x1_0000, 0xffff_ffff, 2 ** 40]) {
        const frame = appended(id, Buffer.alloc(length, 7))
        expect(joined(frame, 10).equals(encodeMessage(frame, subprotocol) as Uint8Array)).toBe(true)
      }
    },
  )

  it('does not copy the data', () => {
    const data = Buffer.from('data')
    const { id: _id, ...rest } = appended(1, data)
    expect(shareFrame(rest).data).toBe(data)
  })

  it('holds for any data, and for frames without', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.integer({ min: 1 }), (data, id) => {
        const frame = appended(id, data)
        expect(parseResponse(decodeMessage(joined(frame)))).toMatchObject({ id })
        expect(joined(frame)).toEqual(Buffer.from(encodeMessage(frame, subprotocol)))
      }),
    )
    const large: ResponseFrame = { id: 5, type: 'value', seq: 2, ref, size: 9, skipped: true }
    expect(joined(large)).toEqual(Buffer.from(encodeMessage(large, subprotocol)))
  })
})

describe('decodeMessage()', () => {
  it.each(['', '{', '{"id":1}x'])('refuses the text %j', (text) => {
    expect(() => decodeMessage(text)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })
  it.each(['', '83', '0101'])('refuses the bytes %s', (hex) => {
    const bytes = Buffer.from(hex, 'hex')
    expect(() => decodeMessage(bytes)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })
})
