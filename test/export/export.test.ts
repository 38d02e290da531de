/** Exports byte by byte, random trees through them, and every way to damage one. See rfc/15. */

import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import type { Op } from '../../src/api/transaction.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { hashBlob, hashNode, StreamHash } from '../../src/blob/hash.js'
import { magic } from '../../src/export/format.js'
import { verifyExport } from '../../src/export/verify.js'
import { type EmbeddedStore, open } from '../../src/open.js'
import { TestClock } from '../clock.js'
import { chunksOf, joined } from '../kvs/contract-export.js'
import { refusal, text } from '../kvs/expect.js'

describe('the stream', () => {
  it('has the bytes of rfc/15', async () => {
    await using store = await open({ environment: new TestClock() })
    await store.commit({
      ops: [
        { op: 'put', key: 'a', value: 'hi' },
        { op: 'append', key: 'log', value: 'x' },
      ],
    })
    const stream = await joined(store.upkeep.export())
    const node = stream.subarray(76, 76 + stream.readUInt32BE(72))
    const hash = new StreamHash()
    hash.update(stream.subarray(0, -32))
    expect(stream.subarray(0, 9).toString('hex')).toBe('89544c520d0a1a0a01')
    // [name, seq, time, [dir, ref, keys, size], no base]
    const digest = hashNode(node).slice(7)
    expect(stream.subarray(9, 71).toString('hex')).toBe(
      `0000003a95a7${hex('primary')}01cb4278bcfe568000009402c420${digest}0203c0`,
    )
    const blob = hashBlob(Buffer.from('x')).slice(7)
    expect(stream.subarray(71, 76).toString('hex')).toBe(`02000000${node.length.toString(16)}`)
    expect(node.toString('hex')).toBe(
      `930292a161a3${hex('log')}929200c402${hex('hi')}9401c420${blob}0101`,
    )
    const rest = stream.subarray(76 + node.length)
    expect(rest.subarray(0, 6).toString('hex')).toBe(`0100000001${hex('x')}`)
    expect(rest.subarray(6, 23).readBigUInt64BE(1)).toBe(2n)
    expect(rest.subarray(6, 23).readBigUInt64BE(9)).toBe(BigInt(node.length + 1))
    expect(rest[6]).toBe(0)
    expect(rest.subarray(23).equals(hash.digest())).toBe(true)
    expect(hashBlob(stream)).toBe(golden)
  })

  it('is the same again, and begins as no text does', async () => {
    await using store = await open()
    await fill(store)
    const stream = await joined(store.upkeep.export())
    expect((await joined(store.upkeep.export())).equals(stream)).toBe(true)
    expect(stream.subarray(0, 8)).toEqual(magic)
    expect(stream.toString('utf8')).not.toBe(stream.toString('latin1'))
  })

  it('holds its root: neither retention nor a collection takes what is still to be read', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tailrace-export-'))
    try {
      await using store = await open({ directory, cacheSize: 1 })
      for (let at = 0; at < 20; at++) await store.put(`k${at}`, randomBytes(100_000))
      const whole = await joined(store.upkeep.export())
      const { seq } = await store.root()
      const stream = store.upkeep.export({ at: seq })[Symbol.asyncIterator]()
      const { value: first } = await stream.next()
      await store.namespaces.configure('primary', {
        historyCount: 1,
        historyAgeMs: 0,
        historySize: 0,
      })
      await store.commit({
        ops: Array.from({ length: 20 }, (_, at) => ({ op: 'unlink' as const, key: `k${at}` })),
      })
      await store.put('after', 'x')
      await store.upkeep.collect()
      const rest = await joined({ [Symbol.asyncIterator]: () => stream })
      expect(Buffer.concat([first ?? Buffer.alloc(0), rest]).equals(whole)).toBe(true)
      // Read to its end it lets go.
      expect(await refusal(joined(store.upkeep.export({ at: seq })))).toMatchObject({
        code: 'ECOMPACTED',
      })
      expect((await store.upkeep.collect()).freed.size).toBeGreaterThan(1_900_000)
    } finally {
      await rm(directory, { recursive: true })
    }
  })

  it('names no lease, producer or answer', async () => {
    await using store = await open()
    await store.put('k', 'v')
    const before = await joined(store.upkeep.export())
    await store.commit({ ops: [{ op: 'lease', key: 'k', action: 'take', ttl: 60_000 }] })
    const after = await joined(store.upkeep.export())
    // Only the seq and the time of the root differ, and what proves them.
    expect(after.length).toBe(before.length)
    expect(after.subarray(after.length - 100, -32)).toEqual(
      before.subarray(before.length - 100, -32),
    )
  })
})

describe('damage', () => {
  it('every single byte that is flipped is refused, and leaves the target as it was', async () => {
    await using store = await open()
    await store.commit({
      ops: [
        { op: 'put', key: 'a', value: 'hi' },
        { op: 'put', key: 'b', value: 'b'.repeat(300) },
        { op: 'append', key: 'log', value: '1' },
        { op: 'append', key: 'log', value: '2' },
      ],
    })
    const stream = await joined(store.upkeep.export())
    await using target = await open()
    await target.put('old', 'x')
    const before = await target.root()
    for (let at = 0; at < stream.length; at++) {
      const flipped = Buffer.from(stream)
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8))
      const error = await refusal(target.upkeep.import(chunksOf(flipped), { replace: true }))
      expect(error.code, `byte ${at}`).toBe('EINVAL')
      expect(await refusal(verifyExport(chunksOf(flipped)))).toMatchObject({ code: error.code })
    }
    expect(await target.root()).toEqual(before)
    expect(text(await target.get('old'))).toBe('x')
  })

  it('every length but the whole is refused', async () => {
    await using store = await open()
    await store.put('b', 'b'.repeat(300))
    const stream = await joined(store.upkeep.export())
    await using target = await open()
    for (let length = 0; length < stream.length; length++) {
      const cut = chunksOf(stream.subarray(0, length), 97)
      expect(await refusal(target.upkeep.import(cut))).toMatchObject({ code: 'EINVAL' })
    }
    expect(await target.root()).toMatchObject({ seq: 0 })
    await target.upkeep.import(chunksOf(stream))
  })

  it('a byte that is flipped anywhere in a megabyte is refused', async () => {
    await using store = await open()
    await fill(store)
    await store.put('large', Buffer.alloc(4 * blobSizeMax, 'large'))
    await store.put(
      'random',
      Buffer.from(Array.from({ length: 99_999 }, (_, at) => (at * 7) % 251)),
    )
    const stream = await joined(store.upkeep.export())
    expect(stream.length).toBeGreaterThan(350_000)
    await using target = await open()
    const places = fc.sample(fc.integer({ min: 0, max: stream.length - 1 }), 60)
    for (const at of places) {
      const flipped = Buffer.from(stream)
      flipped[at] = (flipped[at] ?? 0) ^ 0x10
      const error = await refusal(target.upkeep.import(chunksOf(flipped)))
      expect(error.code, `byte ${at}`).toBe('EINVAL')
    }
    expect(await target.root()).toMatchObject({ seq: 0 })
  })

  it('records that change places, are left out or come twice are refused though the end says they fit', async () => {
    await using store = await open()
    await store.put('a', 'a'.repeat(300))
    await store.put('b', 'b'.repeat(301))
    const stream = await joined(store.upkeep.export())
    const { head, records } = partsOf(stream)
    const [leaf, a, b] = records
    if (!leaf || !a || !b) throw new Error('a leaf and two blobs were exported')
    await using target = await open()
    expect(assembled(head, records)).toEqual(stream)
    for (const wrong of [
      [leaf, b, a],
      [a, leaf, b],
      [leaf, a],
      [leaf, a, a],
      [leaf, a, b, b],
      [leaf, leaf, a, b],
      [],
    ]) {
      const bytes = assembled(head, wrong)
      expect(await refusal(target.upkeep.import(chunksOf(bytes)))).toMatchObject({ code: 'EINVAL' })
      expect(await refusal(verifyExport(chunksOf(bytes)))).toMatchObject({ code: 'EINVAL' })
    }
    // A blob that is already stored still has its place in the stream.
    await target.put('there', 'b'.repeat(301))
    const without = assembled(head, [leaf, a])
    const refused = target.upkeep.import(chunksOf(without), { replace: true })
    expect(await refusal(refused)).toMatchObject({ code: 'EINVAL' })
  })

  it('a value cannot pass for a node, nor a node for a value', async () => {
    await using store = await open()
    await store.put('a', 'a'.repeat(300))
    const { head, records } = partsOf(await joined(store.upkeep.export()))
    const kinds = records.map((record) => {
      const other = Buffer.from(record)
      other[0] = other[0] === 1 ? 2 : 1
      return other
    })
    await using target = await open()
    const refused = target.upkeep.import(chunksOf(assembled(head, kinds)))
    expect(await refusal(refused)).toMatchObject({ code: 'EINVAL' })
  })

  it('lengths beyond what a blob can have are refused before they are read', async () => {
    await using store = await open()
    await store.put('a', 'a'.repeat(300))
    const { head } = partsOf(await joined(store.upkeep.export()))
    const endless = (async function* () {
      yield head
      yield Buffer.from('01ffffffff', 'hex')
      throw new Error('nobody may ask for more')
    })()
    await using target = await open()
    expect(await refusal(target.upkeep.import(endless))).toMatchObject({ code: 'EINVAL' })
  })
})

describe('random trees', () => {
  const names = fc.constantFrom('a', 'b', 'c', 'ü', '日本', 'long'.repeat(20))
  const keys = fc.array(names, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'))
  const values = fc.oneof(
    fc.string({ maxLength: 5 }),
    fc.integer({ min: 250, max: 1_000 }).map((size) => 'v'.repeat(size)),
    fc.constant('w'.repeat(blobSizeMax + 3)),
  )
  const op: fc.Arbitrary<Op> = fc.oneof(
    fc.record({ op: fc.constant('put' as const), key: keys, value: values }),
    fc.record({ op: fc.constant('append' as const), key: keys, value: values }),
    fc.record({ op: fc.constant('append' as const), key: keys, value: fc.string() }),
    fc.record({ op: fc.constant('symlink' as const), key: keys, target: keys }),
    fc.record({ op: fc.constant('mkdir' as const), key: keys }),
    fc.record({ op: fc.constant('seal' as const), key: keys }),
    fc.record({ op: fc.constant('unlink' as const), key: keys, recursive: fc.constant(true) }),
    fc.record({ op: fc.constant('copy' as const), from: keys, key: keys }),
    fc.record({
      op: fc.constant('trim' as const),
      key: keys,
      keep: fc.integer({ min: 0, max: 3 }),
    }),
  )
  const histories = fc.array(fc.array(op, { minLength: 1, maxLength: 10 }), {
    minLength: 1,
    maxLength: 4,
  })

  it('come back as they were, whole and as a chain of differences', async () => {
    await fc.assert(
      fc.asyncProperty(histories, async (steps) => {
        await using store = await open()
        await using whole = await open()
        await using chain = await open()
        let last: number | undefined
        for (const ops of steps) {
          for (const each of ops) await store.commit({ ops: [each] }).catch(() => {})
          const { seq } = await store.root()
          const since = last === undefined ? {} : { since: last }
          const difference = await joined(store.upkeep.export(since))
          await verifyExport(chunksOf(difference))
          await chain.upkeep.import(chunksOf(difference))
          last = seq
          await expectSame(store, chain)
        }
        const stream = await joined(store.upkeep.export())
        const { ref } = await verifyExport(chunksOf(stream, 100))
        expect(ref).toBe((await store.stat('/'))?.ref)
        const { read, stored } = await whole.upkeep.import(chunksOf(stream))
        expect(stored).toEqual(read)
        await expectSame(store, whole)
        // Exported again it is the same but for its header.
        const again = await joined(whole.upkeep.export())
        const records = Buffer.concat(partsOf(stream).records)
        expect(Buffer.concat(partsOf(again).records).equals(records)).toBe(true)
      }),
      { numRuns: 20 },
    )
  })

  it('huge directories and long logs, on disk', async () => {
    await using store = await open()
    for (let from = 0; from < 3_000; from += 1_000) {
      await store.commit({
        ops: Array.from({ length: 1_000 }, (_, at) => ({
          op: 'put' as const,
          key: `huge/${from + at}`,
          value: `${from + at}`,
        })),
      })
    }
    for (let at = 0; at < 1_500; at++) void store.append('log', `${at}\n`)
    await store.append('log', 'last')
    // A part of the log's nodes is met before the whole of them, and after.
    for (const key of ['a-trimmed', 'trimmed']) {
      await store.commit({ ops: [{ op: 'copy', from: 'log', key }] })
      await store.commit({ ops: [{ op: 'trim', key, keep: 40 }] })
    }
    const directory = await mkdtemp(join(tmpdir(), 'tailrace-import-'))
    try {
      {
        await using target = await open({ directory })
        await target.upkeep.import(store.upkeep.export())
      }
      await using target = await open({ directory })
      await expectSame(store, target)
      // Only the trimmed log: what was dropped is not in it.
      await store.commit({ ops: [{ op: 'unlink', key: 'log' }] })
      await using small = await open()
      const { read } = await small.upkeep.import(store.upkeep.export())
      expect(read.count).toBeLessThan(400)
      await expectSame(store, small)
    } finally {
      await rm(directory, { recursive: true })
    }
  })
})

describe('an import', () => {
  it('revives no lease and no expiry, and ends those of what it replaces', async () => {
    const clock = new TestClock()
    await using store = await open({ environment: clock })
    await store.put('k', 'v', { ttl: 1_000 })
    const stream = await joined(store.upkeep.export())
    await store.upkeep.import(chunksOf(stream), { namespace: 'copy' })
    await store.upkeep.import(chunksOf(stream), { replace: true })
    clock.advance(5_000)
    await store.put('other', 'v')
    expect(text(await store.get('k', { namespace: 'copy' }))).toBe('v')
    expect(text(await store.get('k'))).toBe('v')
  })

  it('lets a producer that it replaced begin anew', async () => {
    await using store = await open()
    const stream = await joined(store.upkeep.export())
    const producer = { id: 'p', epoch: 3, seq: 0 }
    await store.append('log', 'a', { producer })
    await store.upkeep.import(chunksOf(stream), { replace: true })
    await store.append('log', 'b', { producer })
    expect(text(await store.get('log'))).toBe('b')
  })

  it('loses nothing to a collection that runs while it is under way', async () => {
    await using store = await open()
    await fill(store)
    await store.put('more', randomBytes(6_000_000)) // more than one batch
    const stream = await joined(store.upkeep.export())
    const directory = await mkdtemp(join(tmpdir(), 'tailrace-import-'))
    try {
      await using target = await open({ directory })
      await target.put('garbage', 'g'.repeat(1_000))
      const chunks = (async function* () {
        for await (const chunk of chunksOf(stream, 1_000_000)) {
          yield chunk
          await target.upkeep.collect()
        }
      })()
      await target.upkeep.import(chunks, { replace: true })
      await target.upkeep.collect()
      await expectSame(store, target)
    } finally {
      await rm(directory, { recursive: true })
    }
  })

  it('writes to a busy namespace one commit among the others', async () => {
    await using store = await open()
    await store.put('k', 'exported')
    const stream = await joined(store.upkeep.export())
    const into = { namespace: 'copy' }
    await store.namespaces.create('copy')
    const appends = Array.from({ length: 50 }, (_, at) => store.append('log', `${at}`, into))
    const imported = await store.upkeep.import(chunksOf(stream), { ...into, replace: true })
    await Promise.all(appends)
    expect((await store.stat('k', { ...into, at: imported.seq }))?.size).toBe(8)
    expect(await store.stat('log', { ...into, at: imported.seq })).toBeUndefined()
  })
})

const golden = 'blake3-a04e440af804f74d1a567f232a9b9b455b687e44c43cc2c891ed7a1ec7fc703b'

async function fill(store: Kvs): Promise<void> {
  await store.put('val', 'v')
  await store.put('d/big', Buffer.alloc(blobSizeMax + 7, 'big'))
  for (let at = 0; at < 40; at++) await store.append('d/log', `${at}`)
}

/** The same listing, the same refs, the same bytes. */
async function expectSame(a: EmbeddedStore, b: EmbeddedStore): Promise<void> {
  expect((await b.stat('/'))?.ref).toBe((await a.stat('/'))?.ref)
  const options = { recursive: true, limit: 10_000 }
  const { entries } = await a.list('/', options)
  expect((await b.list('/', options)).entries).toEqual(entries)
  for (const { name, type } of entries.filter((_, at) => at % 50 === 0 || entries.length < 200)) {
    if (type === 'dir' || type === 'symlink') continue
    const { base } = (await a.stat(name, { nofollow: true })) ?? {}
    const from = base ? { from: base.size } : {}
    const [left, right] = [await a.read(name, from), await b.read(name, from)]
    if (!left || !right) throw new Error(`${name} is listed and cannot be read`)
    expect((await joined(right.chunks)).equals(await joined(left.chunks)), name).toBe(true)
  }
}

/** A stream taken apart: magic, version and header; each record with its head. */
function partsOf(stream: Buffer): { head: Buffer; records: Buffer[] } {
  const start = 13 + stream.readUInt32BE(9)
  const records: Buffer[] = []
  let at = start
  while (stream[at] !== 0) {
    const end = at + 5 + stream.readUInt32BE(at + 1)
    records.push(stream.subarray(at, end))
    at = end
  }
  return { head: stream.subarray(0, start), records }
}

/** A stream of these records whose end fits them. */
function assembled(head: Buffer, records: readonly Buffer[]): Buffer {
  const end = Buffer.alloc(17)
  end.writeBigUInt64BE(BigInt(records.length), 1)
  end.writeBigUInt64BE(BigInt(records.reduce((sum, { length }) => sum + length - 5, 0)), 9)
  const body = Buffer.concat([head, ...records, end])
  const hash = new StreamHash()
  hash.update(body)
  return Buffer.concat([body, hash.digest()])
}

function hex(ascii: string): string {
  return Buffer.from(ascii).toString('hex')
}

describe('a treeobj that names a node as a blob', () => {
  /** A directory, made the same everywhere, and what names its node. */
  const directory: Op[] = Array.from({ length: 20 }, (_, at) => ({
    op: 'put',
    key: `dir/${at}`,
    value: `${at} `.repeat(150),
  }))
  const lie = async (): Promise<Op> => {
    await using store = await open()
    await store.commit({ ops: directory })
    const shown = await store.treeobj('dir')
    const [ref] = shown?.type === 'dirref' ? (shown.data as string[]) : []
    const treeobj = { ver: 1, type: 'valref', data: [ref], sizes: [10] }
    return { op: 'treeobj', key: 'a lie', treeobj, dangling: true }
  }

  it('hides nothing from a difference to a tree that had it', async () => {
    const before = await lie()
    await using store = await open()
    await using other = await open()
    const { seq } = await store.commit({ ops: [before] })
    await other.commit({ ops: [before] })
    await store.commit({ ops: [...directory, { op: 'unlink', key: 'a lie' }] })
    await other.upkeep.import(store.upkeep.export({ since: seq }))
    for (const each of directory) {
      if (each.op === 'put') expect(text(await other.get(each.key))).toBe(each.value)
    }
  })

  it.each(['a lie', 'z lie'])('is no blob, which an export of both says (%s)', async (key) => {
    await using store = await open()
    await store.commit({ ops: [{ ...(await lie()), key } as Op] })
    await store.commit({ ops: directory })
    expect(await refusal(joined(store.upkeep.export()))).toMatchObject({ code: 'ECORRUPT' })
  })
})
