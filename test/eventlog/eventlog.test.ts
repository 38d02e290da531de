/** Eventlogs on the store: appended whole, read back, followed to their seal. */

import { expect, test } from 'vitest'
import { blobSizeMax } from '../../src/blob/blob.js'
import { appendEvents, type Event, followEvents, readEvents } from '../../src/eventlog/eventlog.js'
import { readOutput } from '../../src/eventlog/read-stream.js'
import { encodeData, encodeEofs, encodeHeader } from '../../src/eventlog/stdio.js'
import { open } from '../../src/open.js'
import { transactionSizeMax } from '../../src/transaction/operation.js'

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

test('a log that is not there is ENOENT, a value that is none ECORRUPT', async () => {
  await using store = await open({})
  await store.put('text', 'hello')
  expect(await codeOf(collect(readEvents(store, 'log')))).toBe('ENOENT')
  expect(await codeOf(collect(followEvents(store, 'log')))).toBe('ENOENT')
  expect(await codeOf(collect(readEvents(store, 'text')))).toBe('ECORRUPT')
  expect(await codeOf(collect(followEvents(store, 'text')))).toBe('ECORRUPT')
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
  expect(await codeOf(collect(readOutput(store, 'out', 'stdout', { from: -1 })))).toBe('EINVAL')
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
