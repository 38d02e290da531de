/** Eventlogs on the store: appended whole, read back, followed to their seal. */

import { afterAll, beforeAll, describe, expect, it, test } from 'vitest'
import type { Event } from '../../src/api/event.js'
import { transactionSizeMax } from '../../src/api/transaction.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { appendEvents, followEvents, readEvents } from '../../src/eventlog/eventlog.js'
import { eventsFrom, placeOfLines } from '../../src/eventlog/output-place.js'
import { readOutput } from '../../src/eventlog/read-stream.js'
import { decodeOutput, encodeEofs, encodeHeader, type Stream } from '../../src/eventlog/stdio.js'
import { type EmbeddedStore, open } from '../../src/open.js'
import { encodeData } from './output-event.js'

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

async function codeOf(act: Promise<unknown>): Promise<unknown> {
  return act.then(
    () => 'none',
    (error: unknown) => (error instanceof Error && 'code' in error ? error.code : error),
  )
}

const event = (n: number, size = 10): Event => ({
  timestamp: n,
  name: `e${n}`,
  context: { text: 'x'.repeat(size) },
})

test('events that are no array are EINVAL', async () => {
  await using store = await open({})
  for (const wrong of [undefined, null, 'event', 5, event(1), new Set([event(1)])]) {
    expect(await codeOf(appendEvents(store, 'log', wrong as never))).toBe('EINVAL')
    expect(await codeOf(store.eventlog('log').append(wrong as never))).toBe('EINVAL')
  }
  expect(await store.stat('log')).toBeUndefined()
})

test('a log of events is capped as it is written, and still one of whole events', async () => {
  await using store = await open({})
  await appendEvents(store, 'log', [event(1)], { cap: { keep: 2 } })
  for (let n = 2; n < 6; n++) await appendEvents(store, 'log', [event(n)])
  expect(await collect(readEvents(store, 'log'))).toEqual([event(4), event(5)])
  const sealed = appendEvents(store, 'log', [], { seal: true, cap: { keep: 1 } })
  expect(await codeOf(sealed)).toBe('EINVAL')
})

test('events of a call are one transaction, and one blob if they fit', async () => {
  await using store = await open({})
  const first = await appendEvents(store, 'log', [event(1), event(2)])
  expect(first.result).toMatchObject({ index: 0, count: 1 })
  const many = [event(3, 200_000), event(4, 200_000), event(5)]
  const second = await appendEvents(store, 'log', many, { seal: true })
  expect(second.result).toMatchObject({ index: 1, count: 3 })
  expect(second.seq).toBe(first.seq + 1)
  expect(await collect(readEvents(store, 'log'))).toEqual([event(1), event(2), ...many])
  expect(await collect(readEvents(store, 'log', { at: first.seq }))).toHaveLength(2)
  expect(await codeOf(appendEvents(store, 'log', [event(6)]))).toBe('ESEALED')
})

test('a seal alone is enough, nothing at all is EINVAL', async () => {
  await using store = await open({})
  await appendEvents(store, 'log', [event(1)])
  expect(await codeOf(appendEvents(store, 'log', []))).toBe('EINVAL')
  await appendEvents(store, 'log', [], { seal: true })
  expect((await store.stat('log'))?.sealed).toBe(true)
})

test('what is too big, malformed or guarded away leaves nothing', async () => {
  await using store = await open({})
  expect(await codeOf(appendEvents(store, 'log', [event(1), event(2, blobSizeMax)]))).toBe('E2BIG')
  const flood = Array.from({ length: 40 }, (_, n) => event(n, transactionSizeMax / 39))
  expect(await codeOf(appendEvents(store, 'log', flood))).toBe('E2BIG')
  expect(await codeOf(appendEvents(store, 'log', [event(1), { timestamp: 1, name: '' }]))).toBe(
    'EINVAL',
  )
  const guards = [{ key: 'other', count: 3 }]
  expect(await codeOf(appendEvents(store, 'log', [event(1)], { guards }))).toBe('ECONFLICT')
  expect(await store.stat('log')).toBeUndefined()
})

test('a log that is not there is ENOENT, a value that is none EINVAL', async () => {
  await using store = await open({})
  await store.put('text', 'hello')
  expect(await codeOf(collect(readEvents(store, 'log')))).toBe('ENOENT')
  expect(await codeOf(collect(followEvents(store, 'log')))).toBe('ENOENT')
  expect(await codeOf(collect(readEvents(store, 'text')))).toBe('EINVAL')
  expect(await codeOf(collect(followEvents(store, 'text')))).toBe('EINVAL')
})

test('following waits for the log, gets old and new events, and ends with the seal', async () => {
  await using store = await open({})
  const seen: string[] = []
  const follow = (async () => {
    for await (const one of followEvents(store, 'log', { waitCreate: true })) {
      seen.push(one.name)
      // Each is appended only when the one before has arrived.
      const next = seen.length + 1
      if (next <= 4) await appendEvents(store, 'log', [event(next)], { seal: next === 4 })
    }
  })()
  await appendEvents(store, 'log', [event(1)])
  await follow
  expect(seen).toEqual(['e1', 'e2', 'e3', 'e4'])
})

test('following ends with its signal and with the loop', async () => {
  await using store = await open({})
  await appendEvents(store, 'log', [event(1)])
  const end = new AbortController()
  const follow = codeOf(collect(followEvents(store, 'log', { signal: end.signal })))
  end.abort()
  expect(await follow).toBe('ECANCELED')
  for await (const one of followEvents(store, 'log')) {
    expect(one).toEqual(event(1))
    break
  }
  expect(store.watchers).toBe(0)
})

test("a stream's bytes are found by offset without reading what is before", async () => {
  await using store = await open({ cacheSize: 4_096 })
  await store.append('out', encodeHeader(1))
  const size = 1_000
  const count = 200
  for (let n = 0; n < count; n++) {
    // Each third blob has only the other stream.
    const stream = n % 3 === 2 ? 'stderr' : 'stdout'
    const stdout = (n - Math.floor(n / 3)) * size
    const offsets = { stdout, stderr: n * size - stdout }
    await store.append('out', encodeData({ stream, timestamp: n, offsets }, Buffer.alloc(size, n)))
  }
  const total = Array.from({ length: count }, (_, n) => n).filter((n) => n % 3 !== 2)
  const whole = Buffer.concat(total.map((n) => Buffer.alloc(size, n)))
  for (const from of [0, 1, 999, 1_000, 1_001, 66_500, whole.length - 1, whole.length]) {
    const got = Buffer.concat(await collect(readOutput(store, 'out', 'stdout', { from })))
    expect(Buffer.compare(got, whole.subarray(from))).toBe(0)
  }
  const loads = store.loads
  const got = await collect(readOutput(store, 'out', 'stdout', { from: whole.length - 5 }))
  expect(Buffer.concat(got)).toEqual(whole.subarray(-5))
  expect(store.loads - loads).toBeLessThan(60)
  const last = await collect(readOutput(store, 'out', 'stdout', { from: -5 }))
  expect(Buffer.concat(last)).toEqual(whole.subarray(-5))
  const all = await collect(readOutput(store, 'out', 'stdout', { from: -whole.length - 1 }))
  expect(Buffer.concat(all)).toEqual(whole)
  for (const wrong of [{ from: 0.5 }, { lines: -1 }, { since: -1 }, { from: 1, lines: 1 }]) {
    expect(await codeOf(collect(readOutput(store, 'out', 'stdout', wrong)))).toBe('EINVAL')
  }
  expect(await codeOf(collect(readOutput(store, 'gone', 'stdout', { from: 5 })))).toBe('ENOENT')
  const ends = encodeEofs(2, { stdout: whole.length, stderr: 66_000 })
  const follow = collect(
    readOutput(store, 'out', 'stdout', { from: whole.length + 9, follow: true }),
  )
  await store.append('out', ends, { seal: true })
  expect(await follow).toEqual([])
})

test('a trimmed eventlog begins with the first event that is left', async () => {
  await using store = await open({})
  for (let n = 0; n < 4; n++) await appendEvents(store, 'log', [event(n)])
  const trim = (keep: number) => store.commit({ ops: [{ op: 'trim', key: 'log', keep }] })
  await trim(2)
  expect(await collect(readEvents(store, 'log'))).toEqual([event(2), event(3)])
  const followed = collect(followEvents(store, 'log'))
  await appendEvents(store, 'log', [event(4)], { seal: true })
  expect(await followed).toEqual([event(2), event(3), event(4)])
  expect(await codeOf(collect(followEvents(store, 'log', { from: 1 })))).toBe('ECOMPACTED')
  await trim(0)
  expect(await collect(readEvents(store, 'log'))).toEqual([])
  expect(await collect(followEvents(store, 'log'))).toEqual([])
})

test("a trimmed log's streams are read from the byte that is left; what is gone is ECOMPACTED", async () => {
  await using store = await open({})
  await store.append('out', encodeHeader(1))
  for (let n = 0; n < 9; n++) {
    const stream = n % 3 === 2 ? 'stderr' : 'stdout'
    const stdout = (n - Math.floor(n / 3)) * 10
    const offsets = { stdout, stderr: n * 10 - stdout }
    await store.append('out', encodeData({ stream, timestamp: n, offsets }, Buffer.alloc(10, n)))
  }
  // The header and the first four pieces go: three of stdout, one of stderr.
  await store.commit({ ops: [{ op: 'trim', key: 'out', before: 5 }] })
  const read = async (options: { from?: number }) =>
    Buffer.concat(await collect(readOutput(store, 'out', 'stdout', options))).toString('hex')
  const left = [4, 6, 7].map((n) => Buffer.alloc(10, n).toString('hex')).join('')
  expect(await read({})).toBe(left)
  for (const from of [30, 35, 59, 60])
    expect(await read({ from })).toBe(left.slice((from - 30) * 2))
  for (const from of [0, 1, 29]) expect(await codeOf(read({ from }))).toBe('ECOMPACTED')
  await store.commit({ ops: [{ op: 'trim', key: 'out', keep: 0 }] })
  expect(await read({})).toBe('')
})

describe('an output log is read from near its end', () => {
  const lines = 900
  const pieceOf = (n: number) => (n % 3 === 0 ? `e${n}\n` : n % 3 === 1 ? `a${n} ` : `b${n}\n`)
  const streamOf = (n: number): Stream => (n % 3 === 0 ? 'stderr' : 'stdout')
  let store: EmbeddedStore
  const text = { stdout: '', stderr: '' }
  beforeAll(async () => {
    store = await open({ cacheSize: 4_096 })
    await store.append('out', encodeHeader(0))
    for (let n = 1; n <= lines; n++) {
      const [stream, data] = [streamOf(n), Buffer.from(pieceOf(n))]
      const offsets = { stdout: text.stdout.length, stderr: text.stderr.length }
      await store.append('out', encodeData({ stream, timestamp: n, offsets }, data))
      text[stream] += data
    }
  })
  afterAll(() => store[Symbol.asyncDispose]())

  const read = async (stream: Stream, options: { lines?: number; since?: number }) =>
    Buffer.concat(await collect(readOutput(store, 'out', stream, options))).toString()

  it.each([0, 1, 2, 7, 250, 1_000])('the last %i lines of a stream', async (count) => {
    for (const stream of ['stdout', 'stderr'] as const) {
      const all = text[stream].match(/.*\n/g) ?? []
      const wanted = count === 0 ? '' : all.slice(-count).join('')
      expect(await read(stream, { lines: count })).toBe(wanted)
    }
  })

  it('what came since a time', async () => {
    for (const since of [0, 1, 2, 450, lines, lines + 1]) {
      const from = Array.from({ length: lines }, (_, n) => n + 1).filter((n) => n >= since)
      const wanted = from.filter((n) => streamOf(n) === 'stdout').map(pieceOf)
      expect(await read('stdout', { since: since * 1_000 })).toBe(wanted.join(''))
    }
  })

  it('without reading what is before', async () => {
    const loads = store.loads
    await read('stdout', { lines: 3 })
    await read('stdout', { since: (lines - 3) * 1_000 })
    expect(store.loads - loads).toBeLessThan(200)
  })

  it('of both streams as they came, from the middle of a piece on', async () => {
    await store.append('both', encodeHeader(0))
    const pieces: [Stream, string][] = [
      ['stdout', 'one\ntwo\nthree'],
      ['stderr', 'err\n'],
      ['stdout', '\nlast'],
    ]
    const offsets = { stdout: 0, stderr: 0 }
    for (const [stream, data] of pieces) {
      await store.append('both', encodeData({ stream, timestamp: 1, offsets }, Buffer.from(data)))
      offsets[stream] += data.length
    }
    const tail = async (count: number) => {
      const log = { kvs: store, key: 'both', scope: {} }
      const place = await placeOfLines(log, count)
      let shown = ''
      for await (const append of store.watch('both', { mode: 'append', from: place.index })) {
        if (append.type !== 'append') break
        for (const part of eventsFrom(place, append.index, decodeOutput(append.data))) {
          if (part.type === 'data') shown += Buffer.from(part.data)
        }
      }
      return shown
    }
    expect(await tail(1)).toBe('last')
    expect(await tail(2)).toBe('\nlast')
    expect(await tail(3)).toBe('threeerr\n\nlast')
    expect(await tail(4)).toBe('two\nthreeerr\n\nlast')
    expect(await tail(9)).toBe('one\ntwo\nthreeerr\n\nlast')
  })
})
