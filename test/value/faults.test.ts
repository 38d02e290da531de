/** Packed values where things go wrong, or come in the worst order: aborts, a store that fails, values that
 *  are forgotten or dropped while somebody wants them. See rfc/23, rules 5 to 12. */

import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import type { Codec, Packed, PackedValues } from '../../src/api/value.js'
import { deferred } from '../../src/base/deferred.js'
import { TailraceError } from '../../src/error.js'
import { open } from '../../src/open.js'
import { looksMax } from '../../src/value/looks.js'
import { newTimings, openValues } from '../../src/value/values.js'

/** Bytes that the first look does not bring. */
const unit = 100 * 1024
const sizeOf = (units: number) => units * unit
/** Bytes whose packed size is so many units. */
const bytesOf = (units: number) => Buffer.alloc(sizeOf(units) - 16, `${units}`)

let inner: Store
let close: () => Promise<void>
/** Called before each read, and before each put. */
let beforeRead: (key: string) => Promise<void> | void
let beforePut: (key: string) => Promise<void> | void
/** The store that the values use. */
let store: Store
beforeEach(async () => {
  const opened = await open()
  inner = opened
  close = () => opened.close()
  beforeRead = () => {}
  beforePut = () => {}
  store = {
    ...inner,
    read: async (key, options) => {
      await beforeRead(key)
      return inner.read(key, options)
    },
    put: async (key, value, options) => {
      await beforePut(key)
      return inner.put(key, value, options)
    },
  }
})
afterEach(() => close())

/** Stores bytes of so many units under each key. */
const stores = async (units: Readonly<Record<string, number>>) => {
  for (const [key, count] of Object.entries(units)) {
    await (await openValues().pack(bytesOf(count), 'bytes')).store(inner, key)
  }
}
const code = (wanted: string) => expect.objectContaining({ code: wanted })
const used = (values: PackedValues) => {
  const { packed, opened } = values.ledger()
  return { packed: packed.used, opened: opened.used }
}
const none = { packed: 0, opened: 0 }
/** Leaves nothing of a value in memory but its size and its codec. */
const lookAt = async (value: Packed<unknown>) => {
  await value.bytes()
  value[Symbol.dispose]()
}

describe('memory', () => {
  it('packed bytes that are dropped while their opening waits are counted when they are fetched again', async () => {
    await stores({ h: 2, v: 1 })
    const values = openValues({ openedMax: sizeOf(2) })
    const held = await values.from(store, 'h').open()
    const v = values.from<Uint8Array>(store, 'v')
    await v.bytes()
    const opened = v.use((bytes) => bytes.length)
    await expect.poll(() => values.ledger().waiting).toBe(1)
    v[Symbol.dispose]()
    const seen: number[] = []
    beforeRead = () => void seen.push(values.ledger().packed.used)
    held[Symbol.dispose]()
    expect(await opened).toBe(sizeOf(1) - 16)
    expect(seen).toEqual([sizeOf(1)])
    expect(used(values)).toEqual({ packed: 0, opened: sizeOf(1) - 16 })
  })

  it('packed bytes that an opening was granted without are not forgotten for the next claim', async () => {
    await stores({ h: 2, v: 1, x: 3 })
    const values = openValues({ packedMax: sizeOf(3), openedMax: sizeOf(2) })
    const held = await values.from(store, 'h').open()
    const v = values.from<Uint8Array>(store, 'v')
    await v.bytes()
    const opened = v.use((bytes) => bytes.length)
    await expect.poll(() => values.ledger().waiting).toBe(1)
    const x = values.from(store, 'x').bytes()
    await expect.poll(() => values.ledger().waiting).toBe(2)
    const read: string[] = []
    beforeRead = (key) => void read.push(key)
    // Both could be granted at once: x by forgetting the bytes of v.
    held[Symbol.dispose]()
    await Promise.all([opened, x])
    expect(read).toEqual(['x'])
    expect(values.ledger().packed.highest).toBe(sizeOf(3))
  })

  it('a value that is open already is kept for the claim that needs another one besides', async () => {
    await stores({ a: 1, b: 1 })
    const values = openValues({ openedMax: sizeOf(1) })
    const [a, b] = ['a', 'b'].map((key) => values.from<Uint8Array>(store, key))
    if (!a || !b) throw new Error('two values')
    await a.use(() => {})
    await values.useAll([a, b], (x, y) => expect(x.length).toBe(y.length))
    expect(values.ledger().counts.opens).toBe(2)
  })

  it('values above the bound go when their use ends, and are fetched and opened once', async () => {
    await stores({ a: 2, b: 2, c: 5 })
    const values = openValues({ packedMax: sizeOf(3), openedMax: sizeOf(3) })
    const [a, b, c] = ['a', 'b', 'c'].map((key) => values.from<Uint8Array>(store, key))
    if (!a || !b || !c) throw new Error('three values')
    await c.use(() => expect(used(values).opened).toBe(sizeOf(5) - 16))
    expect(used(values)).toEqual(none)
    expect((await c.bytes()).length).toBe(sizeOf(5))
    expect(used(values)).toEqual(none)
    await values.useAll([a, b], () => expect(used(values).opened).toBe(sizeOf(4) - 32))
    expect(used(values)).toEqual({ packed: 0, opened: sizeOf(2) - 16 })
    expect(values.ledger().counts).toMatchObject({ opens: 3, spills: 0 })
  })

  it('a value that is in use is used again at once, whoever waits for memory', async () => {
    await stores({ a: 1, b: 1 })
    const values = openValues({ openedMax: sizeOf(1) })
    const [a, b] = [values.from(store, 'a'), values.from(store, 'b')]
    await a.use(async () => {
      const waiting = b.use(() => {})
      await expect.poll(() => values.ledger().waiting).toBe(1)
      // If it waited behind b, it would wait for its own end.
      await a.use(() => {})
      return { waiting }
    })
    await expect.poll(() => values.ledger().waiting).toBe(0)
  })

  it('who waits for a value that another one opens meanwhile goes on with it', async () => {
    await stores({ a: 1, b: 1, c: 1 })
    const values = openValues({ openedMax: sizeOf(1) })
    const [a, b, c] = ['a', 'b', 'c'].map((key) => values.from(store, key))
    if (!a || !b || !c) throw new Error('three values')
    const held = await c.open()
    const order: string[] = []
    const use = (value: Packed<unknown>, name: string) =>
      value.use(async () => {
        order.push(name)
        await nextTurn()
      })
    const done = [use(a, 'a1')]
    await expect.poll(() => values.ledger().waiting).toBe(1)
    done.push(use(b, 'b'))
    await expect.poll(() => values.ledger().waiting).toBe(2)
    done.push(use(a, 'a2'))
    await expect.poll(() => values.ledger().waiting).toBe(3)
    held[Symbol.dispose]()
    await Promise.all(done)
    expect([order.length, order.at(-1)]).toEqual([3, 'b'])
    expect(values.ledger().counts.opens).toBe(3)
  })

  it('who waits keeps the place though another one opens and forgets its value meanwhile', async () => {
    await stores({ a: 1, b: 1, c: 1, d: 1 })
    const values = openValues({ openedMax: sizeOf(2) })
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((key) => values.from<Uint8Array>(store, key))
    if (!a || !b || !c || !d) throw new Error('four values')
    const held = [await c.open(), await d.open()]
    const order: string[] = []
    const first = a.use(() => void order.push('a'))
    await expect.poll(() => values.ledger().waiting).toBe(1)
    const both = values.useAll([a, b], () => void order.push('a and b'))
    await expect.poll(() => values.ledger().waiting).toBe(2)
    const last = values.useAll([c, d], () => void order.push('c and d'))
    await last
    held[0]?.[Symbol.dispose]()
    await first
    const later = values.from(store, 'c').use(() => void order.push('c'))
    await expect.poll(() => values.ledger().waiting).toBe(2)
    held[1]?.[Symbol.dispose]()
    await Promise.all([both, later])
    expect(order).toEqual(['c and d', 'a', 'a and b', 'c'])
  })

  it('packing waits in its turn: one value at most is packed that there is no memory for', async () => {
    const values = openValues({ packedMax: sizeOf(1) })
    const first = await values.pack(bytesOf(1), 'bytes')
    let packed = 0
    const counting: Codec<Uint8Array> = {
      ...{ name: 'counting', version: 1, unpack: (bytes: Uint8Array) => bytes },
      pack: (bytes) => {
        packed++
        return [bytes]
      },
    }
    const others = Array.from({ length: 5 }, () => values.pack(bytesOf(1), counting))
    await expect.poll(() => values.ledger().waiting).toBe(5)
    expect(packed).toBe(1)
    await expect(values.pack(bytesOf(1), counting, { wait: 'fail' })).rejects.toEqual(code('EBUSY'))
    expect(packed).toBe(1)
    first[Symbol.dispose]()
    for (const other of others) (await other)[Symbol.dispose]()
    expect(values.ledger().packed.highest).toBe(sizeOf(1))
    expect(used(values)).toEqual(none)
  })

  it('a typed array that is used is not forgotten with its packed bytes', async () => {
    const values = openValues({ packedMax: sizeOf(1), spill: { store } })
    const data = bytesOf(1)
    const value = await values.pack(data, 'bytes')
    await value.use(async (same) => {
      expect(same).toBe(data)
      const next = values.pack(bytesOf(1), 'bytes')
      await expect.poll(() => values.ledger().waiting).toBe(1)
      await nextTurn()
      expect(values.ledger()).toMatchObject({ waiting: 1, counts: { spills: 0 } })
      return { next }
    })
    await expect.poll(() => values.ledger().counts.forgotten).toBe(1)
    // It is read back now: the memory of the array was given up.
    await value.use((back) => expect(back).not.toBe(data))
  })

  it('packed bytes that are read while they are spilled stay until nobody reads them', async () => {
    const values = openValues({ packedMax: sizeOf(1), spill: { store } })
    const written = deferred<void>()
    beforePut = () => written.promise
    const kept = await values.pack(bytesOf(1), 'bytes')
    const next = values.pack(bytesOf(1), 'bytes')
    await expect.poll(() => values.ledger().counts.spills).toBe(1)
    const reading = kept.stream()
    await reading.next()
    written.resolve()
    await expect.poll(() => kept.source?.key).toMatch(/^spill\//)
    await nextTurn()
    expect(values.ledger()).toMatchObject({ waiting: 1, packed: { used: sizeOf(1) } })
    await reading.return()
    await next
    expect(values.ledger()).toMatchObject({
      packed: { used: sizeOf(1), highest: sizeOf(1) },
      counts: { spills: 1, forgotten: 1 },
    })
  })

  it('looks at many values at once are few at a time', async () => {
    const count = 3 * looksMax
    for (let at = 0; at < count; at++) await inner.put(`k/${at}`, 'not packed')
    let now = 0
    let most = 0
    const gate = deferred<void>()
    beforeRead = async () => {
      most = Math.max(most, ++now)
      await gate.promise
      now--
    }
    const values = openValues()
    const opening = Array.from({ length: count }, (_, at) => values.from(store, `k/${at}`).open())
    await expect.poll(() => most).toBe(looksMax)
    gate.resolve()
    const ends = await Promise.allSettled(opening)
    expect(ends.every((end) => end.status === 'rejected' && end.reason.code === 'ECORRUPT')).toBe(
      true,
    )
    expect(most).toBe(looksMax)
  })

  it('a value is opened with one read where there is memory, and with a look and a read where others wait', async () => {
    await stores({ a: 1, b: 1, c: 1 })
    const values = openValues({ openedMax: sizeOf(1) })
    const reads: (string | undefined)[][] = []
    const counting: Store = {
      ...inner,
      read: (key, options) => {
        reads.push([key, options?.to === undefined ? 'all' : 'look'])
        return inner.read(key, options)
      },
    }
    const held = await values.from(counting, 'a').open()
    expect(reads.splice(0)).toEqual([['a', 'all']])
    const b = values.from(counting, 'b').use(() => {})
    await expect.poll(() => values.ledger().waiting).toBe(1)
    const c = values.from(counting, 'c').use(() => {})
    await expect.poll(() => values.ledger().waiting).toBe(2)
    held[Symbol.dispose]()
    await Promise.all([b, c])
    expect(reads).toEqual([
      ['b', 'all'],
      ['c', 'look'],
      ['c', 'all'],
    ])
    expect(values.ledger().counts).toMatchObject({ fetches: 4, opens: 3 })
  })

  it('bytes that first looks bring are in the ledger, or not kept', async () => {
    const small = Buffer.alloc(40 * 1024)
    const values = openValues({ packedMax: sizeOf(1), openedMax: sizeOf(1) })
    const held = await values.pack(Buffer.alloc(unit / 2), 'msgpack')
    for (let at = 0; at < 10; at++) {
      await (await openValues().pack(small, 'bytes')).store(inner, `small/${at}`)
    }
    await held.store(inner, 'held')
    const kept = await values.from(store, 'held').open()
    const opening = Array.from({ length: 10 }, (_, at) =>
      values.from<Uint8Array>(store, `small/${at}`).use((bytes) => bytes.length),
    )
    await expect.poll(() => values.ledger().waiting).toBe(10)
    expect(used(values).packed).toBeLessThanOrEqual(sizeOf(1))
    kept[Symbol.dispose]()
    expect(new Set(await Promise.all(opening))).toEqual(new Set([small.length]))
    expect(values.ledger().packed.highest).toBeLessThanOrEqual(sizeOf(1))
  })

  it('the parts of a value that was packed are joined once, and not to open it', async () => {
    const values = openValues()
    const value = await values.pack({ rows: [1, 2] })
    await value.use((back) => expect(back).toEqual({ rows: [1, 2] }))
    expect(values.ledger().counts).toMatchObject({ opens: 1, copies: 0 })
    const bytes = await value.bytes()
    expect(await value.bytes()).toBe(bytes)
    expect(values.ledger().counts.copies).toBe(1)
    value[Symbol.dispose]()
    const array = await values.pack(new Float64Array([1, 2]), 'array')
    const whole = await array.bytes()
    await array.use((back) => expect(back.buffer).toBe(whole.buffer))
    expect(values.ledger().packed.used).toBe(whole.length)
  })

  it('values of another ledger are refused', async () => {
    await stores({ a: 1 })
    const [values, others] = [openValues(), openValues()]
    const use = values.useAll([others.from(store, 'a')], () => {})
    await expect(use).rejects.toEqual(code('EINVAL'))
    expect([used(values), used(others)]).toEqual([none, none])
  })
})

describe('aborts', () => {
  it('of one who opens end nothing for the others', async () => {
    await stores({ a: 1 })
    const gate = deferred<void>()
    const values = openValues()
    const a = values.from<Uint8Array>(store, 'a')
    await a.store(store, 'b') // the value is chosen
    beforeRead = () => gate.promise
    const ending = new AbortController()
    const first = a.open({ signal: ending.signal })
    const second = a.use((bytes) => bytes.length)
    const third = a.bytes({ signal: ending.signal })
    const fourth = a.bytes()
    ending.abort()
    const canceled = { status: 'rejected', reason: code('ECANCELED') }
    expect(await Promise.allSettled([first, third])).toEqual([canceled, canceled])
    gate.resolve()
    expect(await second).toBe(sizeOf(1) - 16)
    expect((await fourth).length).toBe(sizeOf(1))
    expect(values.ledger().counts.opens).toBe(1)
    a[Symbol.dispose]()
    expect(used(values)).toEqual(none)
  })

  it.each(['open', 'bytes'] as const)(
    'of all who call %s leave memory that is forgotten',
    async (call) => {
      await stores({ a: 1, b: 1 })
      const values = openValues({ packedMax: sizeOf(1), openedMax: sizeOf(1) })
      const a = values.from<Uint8Array>(store, 'a')
      await lookAt(a)
      const gate = deferred<void>()
      const reads: string[] = []
      beforeRead = (key) => {
        reads.push(key)
        return key === 'a' ? gate.promise : undefined
      }
      const ending = new AbortController()
      const canceled = a[call]({ signal: ending.signal })
      await expect.poll(() => reads).toEqual(['a'])
      ending.abort()
      await expect(canceled).rejects.toEqual(code('ECANCELED'))
      gate.resolve()
      await values.from(store, 'b').use(() => {})
      await values.from(store, 'b').bytes()
      a[Symbol.dispose]()
      expect(values.ledger().waiting).toBe(0)
      expect(used(values)).toEqual({ packed: sizeOf(1), opened: sizeOf(1) - 16 })
    },
  )

  it('end the wait for a look, and the wait for bytes that others fetch', async () => {
    await stores({ a: 1 })
    const gate = deferred<void>()
    beforeRead = () => gate.promise
    const values = openValues()
    const a = values.from(store, 'a')
    const ending = new AbortController()
    const looking = a.open({ signal: ending.signal })
    ending.abort()
    await expect(looking).rejects.toEqual(code('ECANCELED'))
    gate.resolve()
    expect((await a.bytes()).length).toBe(sizeOf(1))
  })

  it('and refusals of the first who asks for bytes are its own', async () => {
    await stores({ a: 1 })
    const values = openValues({ packedMax: sizeOf(1) })
    const unstored = await values.pack(bytesOf(1), 'bytes')
    const a = values.from(store, 'a')
    const ending = new AbortController()
    const first = a.bytes({ signal: ending.signal })
    await expect.poll(() => values.ledger().waiting).toBe(1)
    const second = a.bytes()
    await expect.poll(() => values.ledger().waiting).toBe(2)
    await expect(a.bytes({ wait: 'fail' })).rejects.toEqual(code('EBUSY'))
    ending.abort()
    await expect(first).rejects.toEqual(code('ECANCELED'))
    unstored[Symbol.dispose]()
    expect((await second).length).toBe(sizeOf(1))
  })
})

describe('a store that fails', () => {
  it('in the middle of a fetch fails all who open, leaves no memory, and is asked again later', async () => {
    await stores({ a: 2 })
    const values = openValues()
    const lost = new TailraceError('ECLOSED', 'the connection was lost')
    const cut: Store = {
      ...inner,
      read: async (key, options) => {
        const reading = await inner.read(key, options)
        if (!reading) return reading
        const chunks = async function* () {
          for await (const chunk of reading.chunks) {
            yield chunk.subarray(0, 10)
            throw lost
          }
        }
        return { ...reading, chunks: chunks() }
      },
    }
    let failing = true
    const either: Store = {
      ...inner,
      read: (key, options) => (failing ? cut : inner).read(key, options),
    }
    const a = values.from<Uint8Array>(either, 'a')
    const looks = [a.open(), a.use(() => {}), a.bytes()]
    const failed = { status: 'rejected', reason: lost }
    expect(await Promise.allSettled(looks)).toEqual([failed, failed, failed])
    expect(used(values)).toEqual(none)
    failing = false
    await lookAt(a)
    failing = true
    const calls = await Promise.allSettled([a.open(), a.use(() => {}), a.bytes()])
    expect(calls).toEqual([failed, failed, failed])
    expect(used(values)).toEqual(none)
    failing = false
    expect(await a.use((bytes) => bytes.length)).toBe(sizeOf(2) - 16)
  })

  it('to give all bytes is ECORRUPT, with the key', async () => {
    await stores({ a: 1 })
    const short: Store = {
      ...inner,
      read: async (key, options) => {
        return inner.read(key, { ...options, to: 1_000 })
      },
    }
    const values = openValues()
    await expect(values.from(short, 'a').open()).rejects.toEqual(
      expect.objectContaining({
        code: 'ECORRUPT',
        message: expect.stringContaining('the value of a '),
      }),
    )
    expect(used(values)).toEqual(none)
  })

  it('at a spill fails the claim that needs the room; the next one spills again', async () => {
    const values = openValues({ packedMax: sizeOf(1), spill: { store } })
    const kept = await values.pack(bytesOf(1), 'bytes')
    beforePut = () => Promise.reject(new TailraceError('ENOSPC', 'no space left'))
    const packing = [values.pack(bytesOf(1), 'bytes'), values.pack(bytesOf(1), 'bytes')]
    const refused = { status: 'rejected', reason: code('ENOSPC') }
    expect(await Promise.allSettled(packing)).toEqual([refused, refused])
    await kept.use((bytes) => expect(bytes.length).toBe(sizeOf(1) - 16))
    beforePut = () => {}
    await values.pack(bytesOf(1), 'bytes')
    expect(kept.source?.key).toMatch(/^spill\//)
    expect(values.ledger().packed.highest).toBe(sizeOf(1))
  })

  it('at a store leaves the value as it was', async () => {
    const values = openValues()
    const value = await values.pack(bytesOf(1), 'bytes')
    beforePut = () => Promise.reject(new TailraceError('EDQUOT', 'above the quota'))
    await expect(value.store(store, 'a')).rejects.toEqual(code('EDQUOT'))
    expect(value.source).toBeUndefined()
    beforePut = () => {}
    await value.store(store, 'a')
    value[Symbol.dispose]()
    expect(await value.use((bytes) => (bytes as Uint8Array).length)).toBe(sizeOf(1) - 16)
  })
})

describe('a value that is dropped', () => {
  it('while it is opened stays for who opens it, and goes afterwards', async () => {
    await stores({ a: 1 })
    const gate = deferred<void>()
    const values = openValues()
    const a = values.from<Uint8Array>(store, 'a')
    await a.store(store, 'b')
    beforeRead = () => gate.promise
    const opening = a.open()
    a[Symbol.dispose]()
    gate.resolve()
    const opened = await opening
    a[Symbol.dispose]()
    expect(opened.value.length).toBe(sizeOf(1) - 16)
    opened[Symbol.dispose]()
    a[Symbol.dispose]()
    a[Symbol.dispose]()
    expect(used(values)).toEqual(none)
  })

  it('while it is spilled is not kept where the spill fails', async () => {
    const values = openValues({ packedMax: sizeOf(1), spill: { store } })
    const kept = await values.pack(bytesOf(1), 'bytes')
    const failed = deferred<void>()
    beforePut = () => failed.promise
    const next = values.pack(bytesOf(1), 'bytes')
    await expect.poll(() => values.ledger().counts.spills).toBe(1)
    kept[Symbol.dispose]()
    failed.reject(new TailraceError('ENOSPC', 'no space left'))
    expect((await next).size).toBe(sizeOf(1))
  })
})

describe('the place of a value', () => {
  it('is the same for all first reads, whatever is put there between them', async () => {
    await stores({ a: 1, other: 2 })
    const values = openValues()
    const a = values.from(store, 'a')
    const gate = deferred<void>()
    beforeRead = () => gate.promise
    const [streamed, copied, opened] = [
      sizeOfStream(a.stream()),
      a.store(store, 'b'),
      a.use((bytes) => (bytes as Uint8Array).length),
    ]
    await inner.commit({ ops: [{ op: 'copy', from: 'other', key: 'a' }] })
    gate.resolve()
    const size = await streamed
    await copied
    expect(size).toBe(sizeOf(2)) // the first read was held back
    expect((await inner.stat('b'))?.size).toBe(size)
    expect(await opened).toBe(size - 16)
  })

  it('that a copy to another namespace chose is read after the key was overwritten', async () => {
    await stores({ a: 1, other: 2 })
    await inner.namespaces.create('far')
    for (let seq = 0; seq < 5; seq++) await inner.put('x', `${seq}`, { namespace: 'far' })
    const values = openValues()
    const a = values.from<Uint8Array>(store, 'a')
    await a.store(store, 'a', { namespace: 'far' })
    await inner.commit({ ops: [{ op: 'copy', from: 'other', key: 'a' }] })
    expect(await a.use((bytes) => bytes.length)).toBe(sizeOf(1) - 16)
  })

  it('that is stored is better than the one where it was spilled', async () => {
    const values = openValues({ packedMax: sizeOf(1), spill: { store } })
    const value = await values.pack(bytesOf(1), 'bytes')
    const next = await values.pack(bytesOf(1), 'bytes')
    expect(value.source?.key).toMatch(/^spill\//)
    expect(await value.store(store, 'kept')).toBe(value)
    expect(value.source).toEqual({ key: 'kept' })
    expect(values.ledger().counts.fetches).toBe(0)
    next[Symbol.dispose]()
  })
})

it('the time of a fetch is no part of the store that it is for', async () => {
  await stores({ a: 5 })
  const workMs = 20
  beforeRead = () => {
    const start = performance.now()
    while (performance.now() - start < workMs);
  }
  const far = await open()
  try {
    const values = openValues()
    const timings = newTimings()
    const start = performance.now()
    await values.from(store, 'a').store(far, 'a', { timings })
    const ms = performance.now() - start
    const { fetch, store: stored } = timings.times
    expect(fetch).toBeGreaterThanOrEqual(workMs)
    expect(stored).toBeGreaterThan(0)
    expect(fetch + stored).toBeLessThanOrEqual(ms)
    expect(values.times()).toEqual(timings.times)
  } finally {
    await far.close()
  }
})

describe('codecs of one’s own', () => {
  const codec = (changes: Partial<Codec>): Codec => ({
    ...{ name: 'own', version: 1 },
    pack: () => [new Uint8Array(10)],
    unpack: () => null,
    ...changes,
  })
  const throwing = () => {
    throw new RangeError('a bug')
  }

  it('that throw do so with a code, and take no memory', async () => {
    await (await openValues().pack(0, codec({}))).store(inner, 'own')
    const values = openValues({ codecs: [codec({ pack: throwing, unpack: throwing })] })
    await expect(values.pack(0, 'own' as never)).rejects.toEqual(
      expect.objectContaining({ code: 'EINVAL', message: expect.stringContaining('own') }),
    )
    await expect(values.from(store, 'own').open()).rejects.toEqual(
      expect.objectContaining({
        code: 'ECORRUPT',
        message: expect.stringMatching(/the value of own .* own@1: a bug/),
      }),
    )
    values.from(store, 'own')[Symbol.dispose]()
    expect(used(values)).toEqual(none)
  })

  it.each([Number.NaN, -1, Number.POSITIVE_INFINITY])('may not say %d bytes', async (size) => {
    await (await openValues().pack(0, codec({}))).store(inner, 'own')
    const values = openValues({ codecs: [codec({ openedSize: () => size })] })
    await expect(values.from(store, 'own').open()).rejects.toEqual(code('EINVAL'))
  })

  it.each<[string, () => unknown]>([
    ['the name of another one', () => openValues({ codecs: [codec({ name: 'json' })] })],
    ['the same name twice', () => openValues({ codecs: [codec({}), codec({})] })],
    ['no pack', () => openValues({ codecs: [codec({ pack: undefined as never })] })],
    [
      'the name of another one, for one value',
      () => openValues().pack(0, codec({ name: 'clone' })),
    ],
    [
      'something else than bytes',
      () => openValues().pack(0, codec({ pack: () => ['x'] as never })),
    ],
  ])('may not have %s', async (_, call) => {
    await expect((async () => call())()).rejects.toEqual(code('EINVAL'))
  })
})

it('whatever is done in whatever order, the ledger counts right and nobody waits for ever', async () => {
  const keys = ['a', 'b', 'c', 'd'] as const
  await stores({ a: 1, b: 1, c: 2, d: 4 })
  const call = fc.record({
    do: fc.constantFrom(
      'use',
      'useAll',
      'bytes',
      'stream',
      'copy',
      'pack',
      'dispose',
      'abort',
      'turn',
    ),
    of: fc.nat(keys.length - 1),
    and: fc.nat(keys.length - 1),
    isHasty: fc.boolean(),
  })
  await fc.assert(
    fc.asyncProperty(
      fc.array(call, { maxLength: 30 }),
      fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
      fc.boolean(),
      async (calls, failures, spills) => {
        let reads = 0
        beforeRead = async () => {
          const fails = failures[reads++ % failures.length]
          await nextTurn()
          if (fails) throw new TailraceError('EIO', 'a bad sector')
        }
        const max = sizeOf(3)
        const values = openValues({
          ...{ packedMax: max, openedMax: max },
          ...(spills && { spill: { store } }),
        })
        const stored = keys.map((key) => values.from<Uint8Array>(store, key))
        const made: Packed<unknown>[] = []
        const at = (index: number) => stored[index] ?? values.from<Uint8Array>(store, 'a')
        let ending = new AbortController()
        /** The ends of all calls: undefined, or the error. */
        const done: Promise<unknown>[] = []
        const follow = (call: Promise<unknown>) => {
          done.push(
            call.then(
              () => undefined,
              (error: unknown) => error,
            ),
          )
        }
        const fits = () => {
          for (const sum of [values.ledger().packed, values.ledger().opened]) {
            expect(sum.used).toBeGreaterThanOrEqual(0)
            // The two largest values, for one task.
            expect(sum.used).toBeLessThanOrEqual(sizeOf(6))
          }
        }
        for (const { do: what, of, and, isHasty } of calls) {
          const options = { wait: isHasty ? 'fail' : 'wait', signal: ending.signal } as const
          if (what === 'use') follow(at(of).use(() => nextTurn(), options))
          if (what === 'useAll') {
            follow(values.useAll([at(of), at(and)], () => nextTurn(), options))
          }
          if (what === 'bytes') follow(at(of).bytes(options))
          if (what === 'stream') follow(sizeOfStream(at(of).stream(options)))
          if (what === 'copy') follow(at(of).store(store, `copies/${of}`))
          if (what === 'pack') {
            const packed = values.pack(bytesOf(1), 'bytes', options)
            follow(packed.then((value) => made.push(value)))
          }
          if (what === 'dispose') at(of)[Symbol.dispose]()
          if (what === 'abort') {
            ending.abort()
            ending = new AbortController()
          }
          if (what === 'turn') await nextTurn()
          fits()
        }
        const ends = Promise.all(done)
        let isDone = false
        void ends.then(() => {
          isDone = true
        })
        // Without a spill, what was packed has to be given back before others go on.
        while (!isDone) {
          for (const value of made.splice(0)) value[Symbol.dispose]()
          await nextTurn()
          fits()
        }
        for (const error of await ends) {
          if (error === undefined) continue
          expect(['EIO', 'EBUSY', 'ECANCELED']).toContain((error as TailraceError).code)
        }
        // What nobody waits for any more may still be on its way.
        const usedAfterAll = () => {
          for (const value of [...stored, ...made]) value[Symbol.dispose]()
          return used(values)
        }
        await expect.poll(usedAfterAll).toEqual(none)
        expect(values.ledger().waiting).toBe(0)
      },
    ),
    { numRuns: 200 },
  )
})

async function sizeOfStream(chunks: AsyncIterable<Uint8Array>): Promise<number> {
  let size = 0
  for await (const chunk of chunks) size += chunk.length
  return size
}
