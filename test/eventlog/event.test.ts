/** Events: what is stored comes back, what is not an event is refused. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type Event,
  type EventValue,
  eventDepthMax,
  eventNameSizeMax,
  eventSizeMax,
} from '../../src/api/event.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { encode } from '../../src/blob/codec.js'
import { isCode } from '../../src/error.js'
import { decodeEvents, encodeEvent, encodeEvents, parseEvent } from '../../src/eventlog/event.js'
import { Splitter } from '../../src/eventlog/eventlog.js'
import { fromNdjson, toNdjson } from '../../src/eventlog/ndjson.js'

const text = fc.string({ unit: 'grapheme' })
const name = fc.oneof(text, fc.constantFrom('__proto__', '1', 'constructor', '', 'toString'))
const { value: anyValue } = fc.letrec<{ value: EventValue; object: EventValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, false),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => n + 0),
    fc.integer(),
    text,
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Uint8Array.from(bytes)),
    fc.array(tie('value'), { maxLength: 5 }),
    tie('object'),
  ),
  object: fc
    .array(fc.tuple(name, tie('value')), { maxLength: 5 })
    .map((entries) => Object.fromEntries(entries) as EventValue),
}))

/** {"base64": …} alone is how bytes are written, so it is no object of its own. */
function isBytesInDisguise(value: EventValue): boolean {
  if (value === null || typeof value !== 'object' || value instanceof Uint8Array) return false
  const names = Object.keys(value)
  if (!Array.isArray(value) && names.length === 1 && names[0] === 'base64') return true
  return Object.values(value).some((item) => isBytesInDisguise(item as EventValue))
}

const anyEvent: fc.Arbitrary<Event> = fc
  .record({
    timestamp: fc.double({ min: 0, max: 1e10, noNaN: true }).map((n) => n + 0),
    name: text.filter((name) => name !== '' && Buffer.byteLength(name) <= eventNameSizeMax),
    entries: fc.option(fc.array(fc.tuple(name, anyValue), { maxLength: 5 }), { nil: undefined }),
  })
  .map(({ timestamp, name, entries }) => ({
    timestamp,
    name,
    ...(entries ? { context: Object.fromEntries(entries) } : {}),
  }))
  .filter((event) => !event.context || !isBytesInDisguise(event.context))

/** Equal as JSON with bytes told apart; msgpack gives Buffers where Uint8Arrays went in. */
const same = (events: readonly Event[]) => events.map(toNdjson)

function codeOf(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    for (const code of ['EINVAL', 'E2BIG', 'ECORRUPT'] as const) {
      if (isCode(error, code)) return code
    }
    throw error
  }
  return 'none'
}

test('an event has these bytes', () => {
  const event: Event = {
    timestamp: 1.5,
    name: 'x',
    context: Object.fromEntries([
      ['__proto__', 1],
      ['l', [null, { b: Uint8Array.of(255) }]],
    ]),
  }
  expect(Buffer.from(encodeEvent(event)).toString('hex')).toBe(
    '93cb3ff8000000000000a178' + '9501a95f5f70726f746f5f5f01a16c9300c09301a162c401ff',
  )
})

test('decodeEvents() gives back what encodeEvents() took, odd names included', () => {
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 8 }), (events) => {
      const pieces = encodeEvents(events)
      const back = pieces.flatMap(decodeEvents)
      expect(same(back)).toEqual(same(events))
      for (const [index, event] of back.entries()) {
        expect(Object.keys(event.context ?? {})).toEqual(Object.keys(events[index]?.context ?? {}))
      }
    }),
  )
})

test('fromNdjson() gives back what toNdjson() wrote', () => {
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 8 }), (events) => {
      expect(same(fromNdjson(events.map(toNdjson).join('')))).toEqual(same(events))
    }),
  )
})

test('a Splitter finds the same events however the bytes are cut', () => {
  fc.assert(
    fc.property(
      fc.array(anyEvent, { maxLength: 6 }),
      fc.array(fc.nat({ max: 60 }), { minLength: 1, maxLength: 10 }),
      (events, steps) => {
        const whole = Buffer.concat(encodeEvents(events))
        const splitter = new Splitter()
        const back: Event[] = []
        for (let at = 0, turn = 0; at < whole.length; turn++) {
          const step = (steps[turn % steps.length] ?? 0) + (turn % 2)
          back.push(...splitter.push(whole.subarray(at, at + step)))
          at += step
        }
        splitter.finish()
        expect(same(back)).toEqual(same(events))
      },
    ),
  )
})

test('no event spans two pieces, and a piece fits a blob', () => {
  const big = (size: number): Event => ({
    timestamp: 1,
    name: 'big',
    context: { bytes: new Uint8Array(size).fill(size) },
  })
  const events = [100_000, 100_000, 100_000, 250_000, 10].map(big)
  const pieces = encodeEvents(events)
  expect(pieces.map((piece) => decodeEvents(piece).length)).toEqual([2, 1, 2])
  for (const piece of pieces) expect(piece.length).toBeLessThanOrEqual(blobSizeMax)
})

test('an event of eventSizeMax bytes is taken, one more is E2BIG', () => {
  const head = encodeEvent({ timestamp: 1, name: 'n', context: { b: new Uint8Array(70_000) } })
  const room = eventSizeMax - (head.length - 70_000)
  const of = (size: number): Event => ({
    timestamp: 1,
    name: 'n',
    context: { b: new Uint8Array(size) },
  })
  expect(encodeEvent(of(room)).length).toBe(eventSizeMax)
  expect(codeOf(() => encodeEvent(of(room + 1)))).toBe('E2BIG')
})

test.each([
  ['no object', 3],
  ['a list', []],
  ['no name', { timestamp: 1 }],
  ['an empty name', { timestamp: 1, name: '' }],
  ['a name too long', { timestamp: 1, name: 'x'.repeat(eventNameSizeMax + 1) }],
  ['no timestamp', { name: 'x' }],
  ['a timestamp before 1970', { timestamp: -1, name: 'x' }],
  ['an infinite timestamp', { timestamp: Number.POSITIVE_INFINITY, name: 'x' }],
  ['a field too many', { timestamp: 1, name: 'x', nane: 'y' }],
  ['a context that is a list', { timestamp: 1, name: 'x', context: [] }],
  ['a context that is null', { timestamp: 1, name: 'x', context: null }],
  ['a context that is bytes', { timestamp: 1, name: 'x', context: { base64: 'AAAA' } }],
  ['NaN inside', { timestamp: 1, name: 'x', context: { a: [Number.NaN] } }],
  ['undefined inside', { timestamp: 1, name: 'x', context: { a: undefined } }],
  ['a lone surrogate', { timestamp: 1, name: 'x', context: { a: '\ud800' } }],
  ['a lone surrogate as a name', { timestamp: 1, name: 'x', context: { '\ud800': 1 } }],
  ['base64 that is none', { timestamp: 1, name: 'x', context: { a: { base64: 'A' } } }],
])('parseEvent() of %s is EINVAL', (_, input) => {
  expect(codeOf(() => parseEvent(input))).toBe('EINVAL')
})

test('a context is at most eventDepthMax levels deep', () => {
  const nested = (levels: number) => {
    let value: EventValue = 1
    for (let level = 1; level < levels; level++) value = [value]
    return { timestamp: 1, name: 'x', context: { value } }
  }
  expect(decodeEvents(encodeEvent(nested(eventDepthMax - 1)))).toHaveLength(1)
  expect(codeOf(() => parseEvent(nested(eventDepthMax + 1)))).toBe('EINVAL')
})

test.each([
  ['text', Buffer.from('hello world\n')],
  ['a map', Buffer.from('81a16101', 'hex')],
  ['half an event', encodeEvent({ timestamp: 1, name: 'abc' }).subarray(0, 5)],
  ['a list without a name', Buffer.from('91cb3ff8000000000000', 'hex')],
  ['an untagged context', Buffer.from('93cb3ff8000000000000a17892a16101', 'hex')],
  ['an object without a last value', Buffer.from('93cb3ff8000000000000a1789201a161', 'hex')],
])('decodeEvents() of %s is EINVAL', (_, bytes) => {
  expect(codeOf(() => decodeEvents(bytes))).toBe('EINVAL')
})

test('fromNdjson() names the line that is ill formed, and takes one event over many lines', () => {
  const good = toNdjson({ timestamp: 1, name: 'a' })
  expect(() => fromNdjson(`${good}\n{"name":`)).toThrow(/line 3/)
  expect(() => fromNdjson(`${good}{"timestamp":1}\n`)).toThrow(/line 2: .*name/)
  expect(() => fromNdjson('nothing')).toThrow(/line 1/)
  expect(fromNdjson('{\n  "name": "a",\n  "timestamp": 1\n}\n')).toEqual([
    { timestamp: 1, name: 'a' },
  ])
  expect(fromNdjson('\n{"name":"a"}\r\n', { timestamp: 7 })).toEqual([{ timestamp: 7, name: 'a' }])
  expect(codeOf(() => fromNdjson(Uint8Array.of(0xff)))).toBe('EINVAL')
})

test('a Splitter holds no more than one event and says when the log is cut', () => {
  const splitter = new Splitter()
  expect([...splitter.push(encodeEvent({ timestamp: 1, name: 'abc' }).subarray(0, 5))]).toEqual([])
  expect(codeOf(() => splitter.finish())).toBe('EINVAL')
  const endless = new Splitter()
  expect(
    codeOf(() => {
      const push = (bytes: Uint8Array) => [...endless.push(bytes)]
      push(Uint8Array.of(0x92, 0xc6, 0xff, 0xff, 0xff, 0xff))
      for (let size = 0; size <= eventSizeMax; size += 65_536) push(new Uint8Array(65_536))
    }),
  ).toBe('EINVAL')
})

test('an event with a 64-bit integer that no number keeps is EINVAL, not another number', () => {
  const bytes = (id: bigint) => {
    const head = encode([1, 'a']) // its header says two items: three, with the context
    const context = Buffer.from([0x93, 1, 0xa2, 0x69, 0x64, 0xcf, ...Buffer.alloc(8)])
    context.writeBigUInt64BE(id, context.length - 8)
    return Buffer.concat([Buffer.of(0x93), head.subarray(1), context])
  }
  expect(decodeEvents(bytes(2n ** 53n - 1n))).toEqual([
    { timestamp: 1, name: 'a', context: { id: Number.MAX_SAFE_INTEGER } },
  ])
  expect(() => decodeEvents(bytes(2n ** 53n + 1n))).toThrow('9007199254740993')
})
