/** The checker of append logs: right histories pass, each way to be wrong is found and named. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkLog, type LogAppend, type LogEvent, type LogHistory } from './log.js'

const acknowledged = (item: string, index: number, start: number, end: number): LogAppend => ({
  item,
  index,
  start,
  end,
  outcome: 'acknowledged',
})

/** Three appends one after the other, two reads, one watcher; z is unknown and was done. */
const right: LogHistory = {
  appends: [
    acknowledged('a', 0, 0, 10),
    acknowledged('b', 1, 20, 30),
    { item: 'z', start: 31, end: 45, outcome: 'unknown' },
    acknowledged('c', 3, 40, 50),
    { item: 'y', start: 41, end: 45, outcome: 'unknown' },
    { item: 'x', start: 42, end: 43, outcome: 'failed' },
  ],
  reads: [
    { start: 11, end: 19, from: 0, items: ['a'] },
    { start: 25, end: 60, from: 1, items: ['b', 'z', 'c'] },
  ],
  streams: [
    {
      name: 'watcher',
      from: 0,
      start: 12,
      events: [
        { index: 0, item: 'a', time: 13 },
        { marker: 'live', index: 1, time: 14 },
        { index: 1, item: 'b', time: 29 },
        { index: 2, item: 'z', time: 35 },
        { index: 3, item: 'c', time: 49 },
        { marker: 'end', index: 4, time: 70 },
      ],
    },
  ],
  final: ['a', 'b', 'z', 'c'],
}

const event = (at: number, change: Partial<LogEvent>) => (history: LogHistory) => ({
  ...history,
  streams: history.streams.map((stream) => ({
    ...stream,
    events: stream.events.map((each, index) =>
      index === at ? ({ ...each, ...change } as LogEvent) : each,
    ),
  })),
})

describe('checkLog()', () => {
  it('finds nothing in a right history', () => {
    expect(checkLog(right)).toEqual([])
  })

  it.each<[string, RegExp, (history: LogHistory) => LogHistory]>([
    ['a lost acknowledged append', /^lost: c/, (h) => ({ ...h, final: ['a', 'b', 'z'] })],
    ['an append that is there twice', /^duplicate: a/, (h) => ({ ...h, final: [...h.final, 'a'] })],
    ['an unknown one twice', /^duplicate: z/, (h) => ({ ...h, final: [...h.final, 'z'] })],
    ['an item that nobody appended', /^phantom: q/, (h) => ({ ...h, final: [...h.final, 'q'] })],
    ['one that failed', /^phantom: x/, (h) => ({ ...h, final: [...h.final, 'x'] })],
    ['one elsewhere than it was told', /^moved: b/, (h) => ({ ...h, final: ['a', 'z', 'b', 'c'] })],
    [
      'appends against the order of time',
      /reordered: append a/,
      (h) => ({
        ...h,
        appends: [acknowledged('b', 0, 0, 10), acknowledged('a', 1, 20, 30)].map((each) =>
          each.item === 'a' ? { ...each, index: 0 } : { ...each, index: 1 },
        ),
        reads: [],
        streams: [],
        final: ['a', 'b'],
      }),
    ],
    [
      'a read that is no prefix',
      /^not a prefix: a read saw c at 1/,
      (h) => ({ ...h, reads: [{ start: 60, end: 61, from: 0, items: ['a', 'c'] }] }),
    ],
    [
      'a read beyond the end',
      /^not a prefix: a read saw d at 4/,
      (h) => ({ ...h, reads: [{ start: 60, end: 61, from: 3, items: ['c', 'd'] }] }),
    ],
    [
      'a stale read',
      /^stale or reordered: read of 1/,
      (h) => ({ ...h, reads: [{ start: 31, end: 32, from: 0, items: ['a'] }] }),
    ],
    [
      'a read that is older than another',
      /^stale or reordered: read of 1/,
      (h) => ({
        ...h,
        reads: [
          { start: 21, end: 24, from: 0, items: ['a', 'b'] },
          { start: 25, end: 29, from: 0, items: ['a'] },
        ],
      }),
    ],
    [
      'a read of what was not yet appended',
      /^stale or reordered: append b/,
      (h) => ({ ...h, reads: [{ start: 15, end: 16, from: 0, items: ['a', 'b'] }] }),
    ],
    [
      'an unknown append after its last moment',
      /^stale or reordered: read of 2/,
      (h) => ({ ...h, reads: [{ start: 46, end: 47, from: 0, items: ['a', 'b'] }] }),
    ],
    ['a gap in a stream', /gap, 2 where 1 is next/, event(2, { index: 2 })],
    ['a repeat in a stream', /gap, 0 where 1 is next/, event(2, { index: 0 })],
    ['a stream with another item', /watcher: not a prefix: c at 2/, event(3, { item: 'c' })],
    ['a delivery before the append', /^stale or reordered: append b/, event(2, { time: 15 })],
    ['live too early', /live says 0 after 1/, event(1, { index: 0 })],
    ['an end too early', /ended at 4 of 5/, (h) => ({ ...h, final: [...h.final, 'y'] })],
    [
      'live before what was acknowledged was delivered',
      /^stale or reordered: watcher at 1/,
      (h) => ({
        ...h,
        streams: h.streams.map((stream) => ({ ...stream, start: 33 })),
      }),
    ],
  ])('finds %s', (_name, finding, change) => {
    expect(checkLog(change(right))).toContainEqual(expect.stringMatching(finding))
  })

  it('finds nothing in a true execution, and something once two of its items changed places', () => {
    const plan = fc.record({
      appends: fc.array(
        fc.record({
          start: fc.integer({ min: 0, max: 99 }),
          takes: fc.integer({ min: 1, max: 9 }),
          fate: fc.constantFrom('acknowledged', 'acknowledged', 'done', 'never', 'failed'),
        }),
        { minLength: 1, maxLength: 30 },
      ),
      reads: fc.array(
        fc.record({
          start: fc.integer({ min: 0, max: 110 }),
          takes: fc.integer({ min: 1, max: 9 }),
          from: fc.nat(20),
        }),
      ),
      first: fc.nat(),
      second: fc.nat(),
    })
    fc.assert(
      fc.property(plan, ({ appends, reads, first, second }) => {
        // Each takes effect in the middle of its time.
        const done = appends
          .map(({ start, takes, fate }, id) => ({ id, start, end: start + takes, fate }))
          .sort((a, b) => a.start + a.end - b.start - b.end || a.id - b.id)
        const listed = done.filter(({ fate }) => fate === 'acknowledged' || fate === 'done')
        const final = listed.map(({ id }) => `${id}`)
        const history: LogHistory = {
          appends: done.map(({ id, start, end, fate }) => {
            const times = { item: `${id}`, start, end }
            if (fate === 'failed') return { ...times, outcome: 'failed' }
            if (fate !== 'acknowledged') return { ...times, outcome: 'unknown' }
            return { ...times, outcome: 'acknowledged', index: final.indexOf(`${id}`) }
          }),
          reads: reads.map(({ start, takes, from }) => {
            const at = start + takes / 2
            const length = listed.filter((each) => (each.start + each.end) / 2 < at).length
            const begin = Math.min(from, length)
            return { start, end: start + takes, from: begin, items: final.slice(begin, length) }
          }),
          streams: [],
          final,
        }
        expect(checkLog(history)).toEqual([])
        const acked = listed.filter(({ fate }) => fate === 'acknowledged')
        const one = acked[first % Math.max(1, acked.length)]
        const other = acked[second % Math.max(1, acked.length)]
        if (!one || !other || one === other) return
        const wrong = final.map((item) => {
          if (item === `${one.id}`) return `${other.id}`
          return item === `${other.id}` ? `${one.id}` : item
        })
        expect(checkLog({ ...history, final: wrong })).not.toEqual([])
      }),
      { numRuns: 300 },
    )
  })
})
