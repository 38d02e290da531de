/** Checks and repairs of real stores that were damaged in every way that is reached from here. See rfc/15. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Finding } from '../../src/api/check.js'
import type { Kvs } from '../../src/api/kvs.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { hashBlob } from '../../src/blob/hash.js'
import { findingText } from '../../src/fsck/report.js'
import { checkStore, open } from '../../src/open.js'
import type { Node } from '../../src/tree/node.js'
import { refusal, text } from '../kvs/expect.js'
import { storedNodes } from '../kvs/stored-nodes.js'
import { dropIndex, flip, misplace } from './damage.js'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-fsck-'))
})
afterEach(() => rm(directory, { recursive: true }))

async function fill(use: (store: Kvs) => Promise<unknown>): Promise<void> {
  await using store = await open({ directory })
  await use(store)
}

const check = (repair = false) => checkStore({ directory, repair })

/** What a finding says, without the refs. */
function told(findings: readonly Finding[]): string[] {
  return findings.map((finding) => findingText(finding).replace(/: blake3-.*| tree node.*/, ''))
}

/** The first node of a kind that passes. */
async function nodeOf<Kind extends Node['kind']>(
  kind: Kind,
  pass: (node: Extract<Node, { readonly kind: Kind }>, at: number) => boolean = () => true,
): Promise<{ readonly bytes: Uint8Array; readonly node: Extract<Node, { readonly kind: Kind }> }> {
  let at = 0
  for (const { bytes, node } of await storedNodes(directory)) {
    if (node.kind !== kind) continue
    const named = node as Extract<Node, { readonly kind: Kind }>
    if (pass(named, at++)) return { bytes, node: named }
  }
  throw new Error(`the tree has no such ${kind}`)
}

/** Every key of the newest tree with its bytes. */
async function contents(
  skip: (name: string) => boolean = () => false,
): Promise<Map<string, string>> {
  await using store = await open({ directory })
  const all = new Map<string, string>()
  for (let after: string | undefined; ; ) {
    const page = await store.list('/', {
      recursive: true,
      limit: 10_000,
      ...(after ? { after } : {}),
    })
    for (const { name, type } of page.entries) {
      if (skip(name) || type === 'dir') continue
      all.set(name, hashBlob((await store.get(name)) ?? Buffer.alloc(0)))
    }
    after = page.entries.at(-1)?.name
    if (!page.more) return all
  }
}

describe('a healthy store', () => {
  it('of 3,000 keys, logs, history and pins is clean, and a repair changes nothing', async () => {
    await fill(async (store) => {
      for (let from = 0; from < 3_000; from += 1_000) {
        await store.commit({
          ops: Array.from({ length: 1_000 }, (_, at) => ({
            op: 'put' as const,
            key: `d${at % 7}/${from + at}`,
            value: `${from + at} `.repeat(at % 100),
          })),
        })
      }
      for (let at = 0; at < 70; at++) await store.append('log', `${at}`)
      await store.commit({ ops: [{ op: 'trim', key: 'log', keep: 3 }] })
      await store.history.pin('mark')
      await store.put('big', Buffer.alloc(3 * blobSizeMax, 'big'))
      await store.namespaces.create('other')
      await store.put('k', 'v'.repeat(400), { namespace: 'other' })
    })
    const progress: number[] = []
    const report = await checkStore({ directory, onProgress: ({ size }) => progress.push(size) })
    expect(report).toMatchObject({ clean: true, found: 0, findings: [] })
    expect(report.checked.blobs).toBeGreaterThan(1_000)
    expect(report.checked.roots).toBeGreaterThan(73)
    expect(report.checked.namespaces).toBe(6)
    expect(progress.at(-1)).toBe(report.checked.size)
    expect(progress).toEqual([...progress].sort((a, b) => a - b))
    const seqs = async () => {
      await using store = await open({ directory })
      return (await store.namespaces.list()).map(({ name, seq }) => [name, seq])
    }
    const before = await seqs()
    expect(await check(true)).toMatchObject({ clean: true, repaired: [] })
    expect(await seqs()).toEqual(before)
  })

  it('is refused while it is open, and is not made where there is none', async () => {
    await using _open = await open({ directory })
    expect(await refusal(check())).toMatchObject({ code: 'EBUSY' })
    const nothing = join(directory, 'nothing')
    expect(await refusal(checkStore({ directory: nothing }))).toMatchObject({ code: 'ENOENT' })
  })
})

describe('a ref that nothing is stored for', () => {
  const value = Buffer.alloc(500, 'value')
  const real = hashBlob(value).slice(7)
  const other = (from: number, to: number) =>
    real.slice(0, from) + real.slice(from, to).replaceAll(/./g, '0') + real.slice(to)
  it.each([
    ['the first half', other(32, 64)],
    ['all but a few digits', other(24, 32)],
    ['the second half', other(0, 32)],
  ])('is found beside one with %s of its digits', async (_, digest) => {
    await fill(async (store) => {
      await store.put('a', value)
      const treeobj = { ver: 1, type: 'valref', data: [`blake3-${digest}`], sizes: [500] }
      await store.commit({ ops: [{ op: 'treeobj', key: 'b', treeobj, dangling: true }] })
    })
    const { findings } = await check()
    expect(findings).toMatchObject([{ key: 'b', code: 'EDANGLING' }])
  })

  it('is found where a blob is stored, but with another size', async () => {
    await fill(async (store) => {
      await store.put('a', value)
      const sized = (sizes: number[]) => ({
        ver: 1,
        type: 'valref',
        data: [hashBlob(Buffer.alloc(300, 'late'))],
        sizes,
      })
      await store.commit({
        ops: [{ op: 'treeobj', key: 'b', treeobj: sized([500]), dangling: true }],
      })
      await store.put('c', Buffer.alloc(300, 'late'))
    })
    expect((await check()).findings).toMatchObject([{ key: 'b', code: 'ECORRUPT' }])
  })
})

describe('a damaged blob', () => {
  it('is found by key, index and bytes; what survives of the log moves to lost+found', async () => {
    await fill(async (store) => {
      for (let at = 0; at < 100; at++)
        await store.append('ci/log', `entry ${at} ${'x'.repeat(300)}\n`)
      await store.put('ci/other', 'o'.repeat(500))
      await store.put('small', 'inline')
    })
    const before = await contents((name) => name === 'ci/log')
    const blob = (at: number) => Buffer.from(`entry ${at} ${'x'.repeat(300)}\n`)
    await flip(directory, blob(17))
    await flip(directory, blob(18))
    await flip(directory, blob(99))
    const offset = (at: number) =>
      Array.from({ length: at }, (_, each) => blob(each).length).reduce(
        (sum, each) => sum + each,
        0,
      )
    const report = await check()
    expect(told(report.findings)).toEqual(
      [17, 18, 99]
        .map(
          (at) =>
            `primary: ci/log: blob ${at} (bytes ${offset(at)}–${offset(at + 1) - 1}): ECORRUPT: the stored bytes of ${hashBlob(blob(at))} do not match it as a blob`,
        )
        .map((line) => line.replace(/: blake3-.*| tree node.*/, '')),
    )
    expect(report).toMatchObject({ clean: false, found: 3 })
    expect(report.findings[0]).toMatchObject({ where: 'data', blobs: { from: 17, to: 18 } })

    const repaired = await check(true)
    expect(repaired.repaired).toEqual([
      {
        namespace: 'primary',
        seq: 103,
        moved: [{ key: 'ci/log', to: 'lost+found/ci/log', note: 'lost+found/ci/log.lost' }],
      },
    ])
    const after = await contents((name) => name.startsWith('lost+found'))
    expect(after).toEqual(before)
    await using store = await open({ directory })
    expect(await store.get('ci/log')).toBeUndefined()
    const survivors = Array.from({ length: 100 }, (_, at) => at).filter(
      (at) => ![17, 18, 99].includes(at),
    )
    const kept = await store.get('lost+found/ci/log')
    expect(text(kept)).toBe(survivors.map((at) => blob(at).toString()).join(''))
    expect(await store.stat('lost+found/ci/log')).toMatchObject({ count: 97 })
    const [second] = survivors.slice(17)
    const reading = await store.read('lost+found/ci/log', { index: 17 })
    for await (const chunk of reading?.chunks ?? [])
      expect(text(chunk)).toBe(`${blob(second ?? 0)}`)
    const note = JSON.parse(text(await store.get('lost+found/ci/log.lost')))
    expect(note).toMatchObject({
      key: 'ci/log',
      was: { count: 100, size: offset(100) },
      kept: { count: 97 },
      lost: [
        { from: 17, to: 19, offset: offset(17), end: offset(19) },
        { from: 99, to: 100 },
      ],
    })
    expect((await store.stat('lost+found/ci/log.lost'))?.attrs?.contentType).toBe(
      'application/json',
    )
    await store.append('ci/log', 'goes on')
  })

  it('that was wholly lost leaves a note; older roots that have it are only told of', async () => {
    await fill(async (store) => {
      await store.put('gone', 'g'.repeat(1_000))
      await store.put('moved', 'm'.repeat(1_000))
      await store.put('moved', 'later')
    })
    await flip(directory, Buffer.from('g'.repeat(1_000)))
    await flip(directory, Buffer.from('m'.repeat(1_000)))
    const { findings } = await check()
    expect(told(findings)).toEqual([
      expect.stringMatching(/^primary: gone: blob 0 \(bytes 0–999\): ECORRUPT/),
      expect.stringMatching(/^primary: root 2: moved: blob 0 \(bytes 0–999\): ECORRUPT/),
    ])
    const { repaired } = await check(true)
    expect(repaired).toMatchObject([{ moved: [{ key: 'gone', note: 'lost+found/gone.lost' }] }])
    const again = await check()
    expect(again.findings.map(({ where }) => where)).toEqual(['history', 'history'])
    await using store = await open({ directory })
    expect(text(await store.get('moved'))).toBe('later')
    expect(await store.get('lost+found/gone')).toBeUndefined()
    // Read at its old root it is as damaged as before.
    expect(await refusal(store.get('gone', { at: 1 }))).toMatchObject({ code: 'ECORRUPT' })
  })

  it('that is missing is EDANGLING; a pinned root is told by its pin', async () => {
    const value = (at: number) => Buffer.from(`${at} `.repeat(300))
    await fill(async (store) => {
      await store.put('a', value(1))
      await store.put('big', Buffer.alloc(blobSizeMax, 'big'))
      await store.put('c', value(3))
      await store.history.pin('keep')
      await store.put('c', value(4))
      await store.put('d', value(5))
    })
    await dropIndex(directory, hashBlob(value(1)))
    const big = hashBlob(Buffer.alloc(blobSizeMax, 'big'))
    await misplace(directory, big, (place) => ({ ...place, segment: 0x7fff_ffff }))
    await misplace(directory, hashBlob(value(5)), (place) => ({ ...place, offset: 0x7fff_ffff }))
    await misplace(directory, hashBlob(value(4)), (place) => ({ ...place, offset: 0 }))
    const { findings } = await check()
    expect(told(findings)).toEqual([
      expect.stringMatching(/^primary: a: blob 0 \(bytes 0–599\): EDANGLING/),
      expect.stringMatching(/^primary: big: blob 0 \(bytes 0–262119\): EDANGLING/),
      expect.stringMatching(/^primary: c: blob 0 \(bytes 0–599\): ECORRUPT/),
      expect.stringMatching(/^primary: d: blob 0 \(bytes 0–599\): EDANGLING/),
    ])
    await check(true)
    const left = await check()
    expect(left.findings.every(({ where }) => where === 'history' || where === 'pin')).toBe(true)
    await using store = await open({ directory })
    expect(Object.keys((await store.list('/')).entries).length).toBe(1)
    expect((await store.list('lost+found')).entries.map(({ name }) => name)).toEqual([
      'a.lost',
      'big.lost',
      'c.lost',
      'd.lost',
    ])
  })
})

describe('a dangling ref that its owner stored', () => {
  it('is found and set aside as any other', async () => {
    const missing = hashBlob(Buffer.from('nobody stored this'))
    await fill(async (store) => {
      await store.put('whole', 'w'.repeat(500))
      const there = hashBlob(Buffer.from('w'.repeat(500)))
      const treeobj = { ver: 1, type: 'valref', data: [there, missing], sizes: [500, 18] }
      await store.commit({ ops: [{ op: 'treeobj', key: 'half', treeobj, dangling: true }] })
    })
    expect(told((await check()).findings)).toEqual([
      expect.stringMatching(/^primary: half: blob 1 \(bytes 500–517\): EDANGLING/),
    ])
    await check(true)
    await using store = await open({ directory })
    expect(text(await store.get('lost+found/half'))).toBe('w'.repeat(500))
    expect(text(await store.get('whole'))).toBe('w'.repeat(500))
  })
})

describe('a damaged node', () => {
  it('of a log loses the blobs below it, and no others', async () => {
    await fill(async (store) => {
      for (let at = 0; at < 100; at++) await store.append('log', `entry ${at}\n`)
      await store.put('whole', 'w'.repeat(1_000))
    })
    await flip(directory, (await nodeOf('page')).bytes)
    const { findings } = await check()
    expect(told(findings)).toEqual([expect.stringMatching(/^primary: log: blobs \d+–\d+ \(bytes /)])
    const lost = findings[0]?.blobs
    expect((lost?.to ?? 0) - (lost?.from ?? 0)).toBe(32)
    await check(true)
    await using store = await open({ directory })
    expect(await store.stat('lost+found/log')).toMatchObject({ count: 68 })
    expect(text(await store.get('whole'))).toBe('w'.repeat(1_000))
    const expected = Array.from({ length: 100 }, (_, at) => at)
      .filter((at) => at < (lost?.from ?? 0) || at >= (lost?.to ?? 0))
      .map((at) => `entry ${at}\n`)
    expect(text(await store.get('lost+found/log'))).toBe(expected.join(''))
  })

  it('of a directory loses its names: the others stay, and the range is told', async () => {
    await fill(async (store) => {
      await store.commit({
        ops: Array.from({ length: 500 }, (_, at) => ({
          op: 'put' as const,
          key: `dir/${`${at}`.padStart(4, '0')}`,
          value: `value ${at}`,
        })),
      })
      await store.put('beside', 'b'.repeat(400))
    })
    const before = await contents()
    const { node, bytes } = await nodeOf('leaf', (_, at) => at === 3)
    const names = node.items.map(({ name }) => `dir/${name}`)
    await flip(directory, bytes)
    const { findings } = await check()
    expect(findings).toMatchObject([
      {
        where: 'data',
        key: 'dir',
        code: 'ECORRUPT',
        names: { upTo: names.at(-1)?.slice(4), keys: names.length },
      },
    ])
    const { repaired } = await check(true)
    expect(repaired).toMatchObject([{ moved: [{ key: 'dir', note: 'lost+found/dir.lost' }] }])
    expect((await check()).findings.filter(({ where }) => where === 'data')).toEqual([])
    for (const name of names) expect(before.delete(name)).toBe(true)
    expect(await contents((name) => name.startsWith('lost+found'))).toEqual(before)
    await using store = await open({ directory })
    expect(JSON.parse(text(await store.get('lost+found/dir.lost')))).toMatchObject({
      key: 'dir',
      lost: [{ keys: names.length }],
    })
    await store.put(names[0] ?? '', 'again')
  })

  it('beside a damaged value: the directory loses both, and nothing else', async () => {
    const value = (at: number) => `${at} `.padStart(300, 'v')
    await fill(async (store) => {
      await store.commit({
        ops: Array.from({ length: 300 }, (_, at) => ({
          op: 'put' as const,
          key: `dir/sub/${`${at}`.padStart(4, '0')}`,
          value: value(at),
        })),
      })
    })
    const before = await contents()
    const { node, bytes } = await nodeOf('leaf', ({ items }, at) => items.length > 1 && at > 2)
    await flip(directory, bytes)
    await flip(directory, Buffer.from(value(0)))
    await flip(directory, Buffer.from(value(299)))
    const { repaired } = await check(true)
    expect(repaired?.[0]?.moved.map(({ key }) => key)).toEqual([
      'dir/sub/0000',
      'dir/sub/0299',
      'dir/sub',
    ])
    expect((await check()).findings.filter(({ where }) => where === 'data')).toEqual([])
    for (const { name } of node.items) before.delete(`dir/sub/${name}`)
    before.delete('dir/sub/0000')
    before.delete('dir/sub/0299')
    expect(await contents((name) => name.startsWith('lost+found'))).toEqual(before)
  })

  it('that is the whole root directory leaves nothing but a note', async () => {
    await fill((store) => store.put('a', 'a'.repeat(400)))
    await flip(directory, (await nodeOf('leaf')).bytes)
    const { findings } = await check()
    expect(findings).toMatchObject([{ where: 'data', key: '/', names: { keys: 1, size: 400 } }])
    await check(true)
    expect((await check()).findings.filter(({ where }) => where === 'data')).toEqual([])
    await using store = await open({ directory })
    expect(JSON.parse(text(await store.get('lost+found/.root.lost')))).toMatchObject({ key: '/' })
  })

  it('that is the root itself: the newest root that can be read comes back', async () => {
    await fill(async (store) => {
      await store.put('a', 'a'.repeat(400))
      await store.put('b', 'b'.repeat(400))
    })
    await flip(directory, (await nodeOf('root')).bytes)
    const { findings } = await check()
    expect(findings).toMatchObject([{ where: 'root', key: '/', namespace: 'primary' }])
    const { repaired } = await check(true)
    expect(repaired).toMatchObject([
      { namespace: 'primary', seq: 3, moved: [{ key: '/', note: 'lost+found/.root.lost' }] },
    ])
    await using store = await open({ directory })
    expect(text(await store.get('a'))).toBe('a'.repeat(400))
    expect(await store.get('b')).toBeUndefined()
    expect(JSON.parse(text(await store.get('lost+found/.root.lost')))).toEqual({
      lost: 2,
      restored: 1,
    })
  })
})

describe('a repair', () => {
  it('ends the life of what it moves, and replaces nothing that is in lost+found', async () => {
    const producer = { id: 'p', epoch: 1, seq: 0 }
    await fill(async (store) => {
      await store.append('log', 'l'.repeat(500), { producer })
      await store.append('kept', 'k'.repeat(500), { producer })
      await store.append('lost+found/log', 'mine')
      await store.put('lost+found/log.lost', 'mine')
    })
    await flip(directory, Buffer.from('l'.repeat(500)))
    const { repaired } = await check(true)
    expect(repaired).toMatchObject([{ moved: [{ key: 'log', note: 'lost+found/log.2.lost' }] }])
    await using store = await open({ directory })
    expect(text(await store.get('lost+found/log.lost'))).toBe('mine')
    // The producer of what went begins anew, the other one is remembered.
    expect((await store.append('log', 'again', { producer })).result).toEqual({
      index: 0,
      count: 1,
    })
    expect(text(await store.get('log'))).toBe('again')
    expect(await store.append('kept', 'k', { producer })).toMatchObject({
      result: { repeated: true },
    })
  })

  it('puts aside what a symlink or a value at lost+found leaves no room for', async () => {
    await fill(async (store) => {
      await store.put('lost+found', 'a value')
      await store.put(`${'long/'.repeat(203)}key`, 'l'.repeat(500))
    })
    await flip(directory, Buffer.from('l'.repeat(500)))
    const { repaired } = await check(true)
    expect(repaired?.[0]?.moved[0]?.note).toMatch(/^lost\+found\.2\/blake3-[0-9a-f]{64}\.lost$/)
    expect((await check()).findings.filter(({ where }) => where === 'data')).toEqual([])
  })

  it('mends the present of a namespace, too', async () => {
    await fill(async (store) => {
      for (let at = 0; at < 200; at++) {
        await store.append(`log${at}`, 'x', { producer: { id: 'p', epoch: 1, seq: 0 } })
      }
    })
    const last = (await storedNodes(directory, 'meta')).at(-1)
    await flip(directory, last?.bytes ?? Buffer.alloc(0))
    const { findings } = await check()
    expect(findings.map(({ where }) => where)).toContain('meta')
    await check(true)
    expect((await check()).clean).toBe(true)
    await using store = await open({ directory })
    expect(text(await store.get('log0'))).toBe('x')
    await store.append('log1', 'y')
  })
})
