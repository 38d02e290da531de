/** Part of the contract of `Kvs`: collections and forgotten keys, rfc/14. */

import { describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import type { CollectProgress } from '../../src/api/upkeep.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { refusal, text } from './expect.js'

const nothingRetained = { historyCount: 1, historyAgeMs: 0 }

/** More than one blob, and no other value has one of them. */
function large(name: string, blobs = 5): Buffer {
  const pieces = Array.from({ length: blobs }, (_, i) => Buffer.alloc(blobSizeMax, `${name} ${i} `))
  return Buffer.concat(pieces)
}

async function* chunksOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 200_000) yield bytes.subarray(at, at + 200_000)
}

async function blobOf(kvs: Kvs, key: string): Promise<string> {
  const shown = await kvs.treeobj(key)
  if (shown?.type !== 'valref') throw new Error(`${key} is no valref`)
  const refs: unknown = shown.data
  return Array.isArray(refs) ? String(refs[0]) : ''
}

const remove = (key: string) => ({ ops: [{ op: 'unlink', key, recursive: true }] }) as const

export function collectionContract(kvsOf: () => Kvs): void {
  describe('collections', () => {
    it('collect() frees what nothing needs, and says how much', async () => {
      const kvs = kvsOf()
      await kvs.namespaces.configure('primary', nothingRetained)
      await kvs.put('gone', large('gone'))
      await kvs.put('small', 'x'.repeat(1_000))
      await kvs.put('stays', large('stays'))
      const [gone, small, stays] = [
        await blobOf(kvs, 'gone'),
        await blobOf(kvs, 'small'),
        await blobOf(kvs, 'stays'),
      ]
      await kvs.commit(remove('gone'))
      await kvs.put('small', 'y'.repeat(1_000))
      const dry = await kvs.upkeep.collect({ dryRun: true })
      expect(dry.dryRun).toBe(true)
      expect(dry.freed.size).toBeGreaterThanOrEqual(5 * blobSizeMax + 1_000)
      expect(await kvs.blobs.load(gone)).toBeDefined()
      const collected = await kvs.upkeep.collect()
      expect(collected).toMatchObject({ dryRun: false })
      expect(collected.freed.count).toBeGreaterThanOrEqual(dry.freed.count)
      expect(collected.live.size).toBeGreaterThan(5 * blobSizeMax)
      expect(collected.live.size).toBeLessThan(6 * blobSizeMax)
      expect(collected.steps).toBeGreaterThan(0)
      expect(collected.longestStepMs).toBeGreaterThanOrEqual(0)
      expect(await kvs.blobs.load(gone)).toBeUndefined()
      expect(await kvs.blobs.load(small)).toBeUndefined()
      expect(await kvs.blobs.load(stays)).toBeDefined()
      const read = await kvs.get('stays')
      expect(read && Buffer.compare(read, large('stays'))).toBe(0)
      expect(text(await kvs.get('small'))).toBe('y'.repeat(1_000))
      // What went can be put again.
      await kvs.put('gone', large('gone'))
      expect(await kvs.blobs.load(gone)).toBeDefined()
    })

    it('leaves what retained roots and pins need, until they go', async () => {
      const kvs = kvsOf()
      const { seq } = await kvs.put('k', large('old'))
      const old = await blobOf(kvs, 'k')
      await kvs.history.pin('kept', { at: seq })
      await kvs.put('k', 'new')
      await kvs.upkeep.collect()
      const past = await kvs.get('k', { at: seq })
      expect(past && Buffer.compare(past, large('old'))).toBe(0)
      await kvs.namespaces.configure('primary', nothingRetained)
      await kvs.upkeep.collect()
      const pinned = await kvs.get('k', { at: seq })
      expect(pinned && Buffer.compare(pinned, large('old'))).toBe(0)
      await kvs.history.unpin('kept')
      await kvs.upkeep.collect()
      expect(await kvs.blobs.load(old)).toBeUndefined()
      expect(await refusal(kvs.get('k', { at: seq }))).toMatchObject({ code: 'ECOMPACTED' })
      // Wider settings bring nothing back.
      await kvs.namespaces.configure('primary', { historyCount: 4_096, historyAgeMs: 3_600_000 })
      expect(await refusal(kvs.get('k', { at: seq }))).toMatchObject({ code: 'ECOMPACTED' })
      expect(text(await kvs.get('k'))).toBe('new')
    })

    it('leaves copies in other namespaces, and frees what a removed namespace had', async () => {
      const kvs = kvsOf()
      await kvs.put('k', large('shared'))
      await kvs.namespaces.create('copied', { from: {} })
      await kvs.namespaces.create('gone')
      await kvs.put('own', large('own'), { namespace: 'gone' })
      await kvs.namespaces.configure('primary', nothingRetained)
      await kvs.commit(remove('k'))
      await kvs.namespaces.remove('gone')
      const { freed } = await kvs.upkeep.collect()
      expect(freed.size).toBeGreaterThanOrEqual(5 * blobSizeMax)
      const copied = await kvs.get('k', { namespace: 'copied' })
      expect(copied && Buffer.compare(copied, large('shared'))).toBe(0)
    })

    it('leaves a blob that its owner has put for a treeobj to come', async () => {
      const kvs = kvsOf()
      const ref = await kvs.blobs.store(Buffer.from('named soon'.repeat(100)))
      await kvs.upkeep.collect()
      const treeobj = { ver: 1, type: 'valref', data: [ref] }
      await kvs.commit({ ops: [{ op: 'treeobj', key: 'k', treeobj }] })
      await kvs.upkeep.collect()
      expect(text(await kvs.get('k'))).toBe('named soon'.repeat(100))
    })

    it('a value that streams in while collections run is whole', async () => {
      const kvs = kvsOf()
      const bytes = large('streamed', 24)
      let streaming = true
      const putting = kvs.put('k', chunksOf(bytes)).finally(() => {
        streaming = false
      })
      while (streaming) await kvs.upkeep.collect()
      await putting
      await kvs.upkeep.collect()
      const read = await kvs.get('k')
      expect(read && Buffer.compare(read, bytes)).toBe(0)
    })

    it('one at a time: a second one is EBUSY; it tells how far it is, and ends with its signal', async () => {
      const kvs = kvsOf()
      for (let i = 0; i < 40; i++) await kvs.put(`k/${i}`, large(`${i}`, 2))
      const said: CollectProgress[] = []
      const both = await Promise.allSettled([
        kvs.upkeep.collect({ onProgress: (progress) => said.push(progress) }),
        kvs.upkeep.collect(),
      ])
      const refused = both.filter(({ status }) => status === 'rejected')
      expect(refused.length).toBe(1)
      expect(refused[0]).toMatchObject({ reason: { code: 'EBUSY' } })
      await kvs.upkeep.collect({ onProgress: (progress) => said.push(progress) })
      expect(said.at(-1)?.phase).toBe('sweep')
      const canceled = AbortSignal.abort()
      expect(await refusal(kvs.upkeep.collect({ signal: canceled }))).toMatchObject({
        code: 'ECANCELED',
      })
      await kvs.upkeep.collect()
    })
  })

  describe('forget()', () => {
    it('takes a key out of the current tree, the past and the pins; its bytes go with a collection', async () => {
      const kvs = kvsOf()
      const first = await kvs.put('secret', large('one'))
      const one = await blobOf(kvs, 'secret')
      await kvs.put('other', large('other'))
      await kvs.history.pin('pinned', { at: first.seq })
      const second = await kvs.put('secret', 's'.repeat(700))
      const two = await blobOf(kvs, 'secret')
      const before = await kvs.put('after', 'x')
      const roots = await kvs.history.roots()
      const forgotten = await kvs.upkeep.forget('secret')
      expect(forgotten).toMatchObject({ pins: 1, seq: before.seq + 1 })
      // put secret, put other, put secret, put after.
      expect(forgotten.roots).toBe(4)
      expect(await kvs.get('secret')).toBeUndefined()
      for (const { seq } of [first, second, before]) {
        expect(await kvs.get('secret', { at: seq })).toBeUndefined()
      }
      const past = await kvs.get('other', { at: second.seq })
      expect(past && Buffer.compare(past, large('other'))).toBe(0)
      // The roots have other refs, and are else the same.
      const now = await kvs.history.roots()
      expect(now.roots.slice(0, roots.roots.length).map(({ seq }) => seq)).toEqual(
        roots.roots.map(({ seq }) => seq),
      )
      expect(await refusal(kvs.get('other', { at: second.ref }))).toMatchObject({
        code: 'ECOMPACTED',
      })
      const [pin] = await kvs.history.pins()
      expect(pin?.seq).toBe(first.seq)
      expect(pin?.ref).not.toBe(first.ref)
      expect(await kvs.get('secret', { at: pin?.ref ?? '' })).toBeUndefined()
      await kvs.upkeep.collect()
      expect(await kvs.blobs.load(one)).toBeUndefined()
      expect(await kvs.blobs.load(two)).toBeUndefined()
      const other = await kvs.get('other')
      expect(other && Buffer.compare(other, large('other'))).toBe(0)
      // A commit goes on from there.
      expect((await kvs.put('next', 'y')).seq).toBe(before.seq + 2)
      expect(await refusal(kvs.upkeep.forget('secret'))).toMatchObject({ code: 'ENOENT' })
    })

    it('takes a directory with all below it, also where only the past has it', async () => {
      const kvs = kvsOf()
      const put = await kvs.put('dir/a/b', 'v'.repeat(900))
      const blob = await blobOf(kvs, 'dir/a/b')
      await kvs.put('dir/c', 'w')
      await kvs.commit(remove('dir/a'))
      const last = await kvs.put('dir/d', 'z')
      expect(await kvs.upkeep.forget('dir/a')).toEqual({ roots: 2, pins: 0 })
      expect((await kvs.root()).seq).toBe(last.seq)
      expect(await kvs.get('dir/a/b', { at: put.seq })).toBeUndefined()
      expect(text(await kvs.get('dir/c', { at: put.seq + 1 }))).toBe('w')
      await kvs.upkeep.collect()
      expect(await kvs.blobs.load(blob)).toBeUndefined()
    })

    it('leaves other namespaces alone, and says what it does not forget', async () => {
      const kvs = kvsOf()
      await kvs.put('k', 'v'.repeat(800))
      await kvs.namespaces.create('copied', { from: {} })
      await kvs.commit({ ops: [{ op: 'symlink', key: 'link', target: 'dir' }] })
      await kvs.put('dir/k', 'v')
      expect(await refusal(kvs.upkeep.forget('link/k'))).toMatchObject({ code: 'EINVAL' })
      expect(await refusal(kvs.upkeep.forget('/'))).toMatchObject({ code: 'EINVAL' })
      expect(await refusal(kvs.upkeep.forget('none'))).toMatchObject({ code: 'ENOENT' })
      expect(await refusal(kvs.upkeep.forget('k', { namespace: 'none' }))).toMatchObject({
        code: 'ENONS',
      })
      expect(await refusal(kvs.upkeep.forget('k', { namespace: 'system' }))).toMatchObject({
        code: 'EPERM',
      })
      await kvs.upkeep.forget('link')
      expect(text(await kvs.get('dir/k'))).toBe('v')
      await kvs.upkeep.forget('k')
      await kvs.upkeep.collect()
      expect(text(await kvs.get('k', { namespace: 'copied' }))).toBe('v'.repeat(800))
    })
  })
}
