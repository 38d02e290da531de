/** Output as an eventlog: the bytes are these, and come back as views. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeEvents } from '../../src/eventlog/event.js'
import {
  type DataPlace,
  decodeOutput,
  encodeEofs,
  encodeHeader,
  type Stream,
} from '../../src/eventlog/stdio.js'
import { encodeData } from './output-event.js'

const place = (stream: Stream): DataPlace => ({
  stream,
  timestamp: 1.5,
  offsets: { stdout: 3, stderr: 5 },
})

test('a data event has these bytes', () => {
  const bytes = encodeData(place('stderr'), Buffer.from('ab\n'))
  expect(Buffer.from(bytes).toString('hex')).toBe(
    '93cb3ff8000000000000a464617461' +
      '9b01a673747265616da6737464657272a472616e6ba130' +
      'a66f6666736574cb4014000000000000a56f74686572cb4008000000000000' +
      'a464617461c60000000361620a',
  )
})

test('the header and the ends are events like any other', () => {
  expect(decodeEvents(encodeHeader(1.5))).toEqual([
    {
      timestamp: 1.5,
      name: 'header',
      context: {
        version: 1,
        encoding: { stdout: 'raw', stderr: 'raw' },
        count: { stdout: 1, stderr: 1 },
        options: {},
      },
    },
  ])
  expect(decodeOutput(encodeHeader(1.5))).toEqual([{ type: 'header', timestamp: 1.5, version: 1 }])
  const offsets = { stdout: 7, stderr: 2 ** 40 }
  const eof = { type: 'eof', timestamp: 2, rank: '0', offsets }
  expect(decodeOutput(encodeEofs(2, offsets, { stderr: 'held' }))).toEqual([
    { ...eof, stream: 'stdout' },
    { ...eof, stream: 'stderr', reason: 'held' },
  ])
})

test('data comes back byte for byte, as a view of the blob', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.constantFrom<Stream>('stdout', 'stderr'), fc.uint8Array()), {
        maxLength: 6,
      }),
      (input) => {
        const blob = Buffer.concat(input.map(([stream, data]) => encodeData(place(stream), data)))
        const events = decodeOutput(blob)
        expect(events).toHaveLength(input.length)
        for (const [index, event] of events.entries()) {
          const [stream, data] = input[index] ?? ['stdout', new Uint8Array(0)]
          if (event.type !== 'data') throw new Error('not data')
          expect(event.stream).toBe(stream)
          expect(event.offsets).toEqual({ stdout: 3, stderr: 5 })
          expect(Buffer.compare(event.data, data)).toBe(0)
          expect(event.data.buffer).toBe(blob.buffer)
        }
      },
    ),
  )
})

test('an event that this version does not know is left out', () => {
  const unknown = Buffer.from('93cb3ff8000000000000a36c6f679101', 'hex')
  const blob = Buffer.concat([unknown, encodeData(place('stdout'), Buffer.from('x'))])
  expect(decodeOutput(blob).map((event) => event.type)).toEqual(['data'])
})

test.each([
  ['without its stream', '93cb3ff8000000000000a4646174619101'],
  ['of a newer version', '93cb3ff8000000000000a66865616465729301a776657273696f6e02'],
])('decodeOutput() of an event %s is EINVAL', (_, hex) => {
  expect(() => decodeOutput(Buffer.from(hex, 'hex'))).toThrow(
    expect.objectContaining({ code: 'EINVAL' }),
  )
})
