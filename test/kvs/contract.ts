/** The contract of `Kvs`: run by the embedded store on every engine, and by the client over a
 *  server. Each case cites the rule of rfc/6 that it holds to where that is not plain. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { callsContract } from './contract-calls.js'
import { capContract } from './contract-cap.js'
import { collectionContract } from './contract-collection.js'
import { copyContract } from './contract-copy.js'
import { copyWatchContract } from './contract-copy-watch.js'
import { deadlinesContract } from './contract-deadlines.js'
import { deepContract } from './contract-deep.js'
import { exportContract } from './contract-export.js'
import { historyContract } from './contract-history.js'
import { idempotencyContract } from './contract-idempotency.js'
import { pastContract } from './contract-past.js'
import { producersContract } from './contract-producers.js'
import { quotaContract } from './contract-quota.js'
import { signalsContract } from './contract-signals.js'
import { transactionsContract } from './contract-transactions.js'
import { treeobjContract } from './contract-treeobj.js'
import { trimContract } from './contract-trim.js'
import { refusal, text } from './expect.js'

export type Made = { readonly kvs: Kvs; readonly close: () => Promise<void> }

export function kvsContract(name: string, make: () => Promise<Made>): void {
  describe(`Kvs: ${name}`, () => {
    let made: Made
    let kvs: Kvs
    beforeEach(async () => {
      made = await make()
      kvs = made.kvs
    })
    afterEach(() => made.close())

    trimContract(() => kvs)

    capContract(() => kvs)

    copyContract(() => kvs)
    copyWatchContract(() => kvs)
    treeobjContract(() => kvs)
    quotaContract(() => kvs)
    deadlinesContract(() => kvs)
    deepContract(() => kvs)
    producersContract(() => kvs)
    idempotencyContract(() => kvs)
    transactionsContract(() => kvs)
    exportContract(() => kvs)
    collectionContract(() => kvs)
    historyContract(() => kvs)
    pastContract(() => kvs)
    signalsContract(() => kvs)
    callsContract(() => kvs)

    describe('values', () => {
      it('get() gives what was put, text as UTF-8, and undefined for what is not there', async () => {
        await kvs.put('a/b', 'grün')
        expect(text(await kvs.get('a/b'))).toBe('grün')
        expect(text(await kvs.get('//a///b/'))).toBe('grün')
        expect(await kvs.get('a/c')).toBeUndefined()
        expect(await kvs.get('a/b/c')).toBeUndefined()
      })

      it.each([0, 1, 256, 257, blobSizeMax, blobSizeMax + 1, 3 * blobSizeMax + 7])(
        'a value of %i bytes comes back byte for byte, from any offset',
        async (size) => {
          const bytes = patterned(size)
          await kvs.put('v', bytes)
          expect(await kvs.stat('v')).toMatchObject({
            type: size <= 256 ? 'val' : 'valref',
            size,
            count: Math.max(1, Math.ceil(size / blobSizeMax)),
            sealed: false,
          })
          const got = await kvs.get('v')
          expect(got && Buffer.compare(got, bytes)).toBe(0)
          for (const from of [1, size >> 1, size - 1, size, size + 1].filter((each) => each >= 0)) {
            const reading = await kvs.read('v', { from })
            const read = await joined(reading?.chunks)
            expect(Buffer.compare(read, bytes.subarray(from))).toBe(0)
          }
        },
      )

      it('a streamed put equals the same put whole, small or large', async () => {
        for (const size of [0, 10, 300, 2 * blobSizeMax + 5, 6 * blobSizeMax]) {
          const bytes = patterned(size)
          await kvs.put('whole', bytes)
          const streamed = await kvs.put('streamed', chunksOf(bytes, 50_000))
          expect(streamed.result.ref).toBe((await kvs.stat('whole'))?.ref)
          expect((await kvs.stat('streamed'))?.ref).toBe((await kvs.stat('whole'))?.ref)
        }
      })

      it('a streamed put that fails in the middle leaves the old value', async () => {
        await kvs.put('k', 'old')
        const seq = (await kvs.root()).seq
        const broken = (async function* () {
          yield patterned(3 * blobSizeMax)
          throw new Error('the source broke')
        })()
        await expect(kvs.put('k', broken)).rejects.toThrow()
        expect(text(await kvs.get('k'))).toBe('old')
        expect((await kvs.root()).seq).toBe(seq)
      })

      it('a buffer that its owner writes to afterwards changes nothing', async () => {
        const buffer = Buffer.alloc(100_000, 'a')
        await kvs.put('put', buffer)
        await kvs.append('append', buffer)
        buffer.fill('b')
        const before = Buffer.alloc(100_000, 'a')
        for (const key of ['put', 'append']) {
          expect(Buffer.compare((await kvs.get(key)) ?? buffer, before)).toBe(0)
        }
        const got = await kvs.get('put')
        got?.fill(0)
        expect(Buffer.compare((await kvs.get('put')) ?? buffer, before)).toBe(0)
      })

      it('a content type is kept and is part of what the ref names', async () => {
        const plain = await kvs.put('k', 'x')
        const typed = await kvs.put('k', 'x', { contentType: 'text/plain' })
        expect(typed.result.ref).not.toBe(plain.result.ref)
        expect((await kvs.stat('k'))?.attrs).toEqual({ contentType: 'text/plain' })
      })

      it('readMany() reads keys at one root', async () => {
        await kvs.commit({
          ops: [
            { op: 'put', key: 'x', value: '1' },
            { op: 'put', key: 'y', value: '2' },
          ],
        })
        const { values, seq } = await kvs.readMany(['x', 'none', 'y'])
        expect(values.map((value) => value && text(value))).toEqual(['1', undefined, '2'])
        expect(seq).toBe(1)
      })
    })

    describe('appends', () => {
      it('an append creates, extends, counts blobs and bytes', async () => {
        expect((await kvs.append('log', 'one\n')).result).toEqual({ index: 0, count: 1 })
        expect((await kvs.append('log', '')).result).toEqual({ index: 1, count: 2 })
        expect((await kvs.append('log', 'two\n')).result).toEqual({ index: 2, count: 3 })
        expect(text(await kvs.get('log'))).toBe('one\ntwo\n')
        expect(await kvs.stat('log')).toMatchObject({ type: 'valref', count: 3, size: 8 })
      })

      it('an append to an inline value makes it the first blob of a log', async () => {
        await kvs.put('k', 'first', { contentType: 'text/plain' })
        expect((await kvs.append('k', '-second')).result).toEqual({ index: 1, count: 2 })
        expect(text(await kvs.get('k'))).toBe('first-second')
        expect(text(await joined((await kvs.read('k', { index: 0 }))?.chunks))).toBe('first')
        expect((await kvs.stat('k'))?.attrs).toEqual({ contentType: 'text/plain' })
      })

      it('an append above the blob limit is several blobs of one commit', async () => {
        const bytes = patterned(2 * blobSizeMax + 1)
        const { result, seq } = await kvs.append('k', bytes)
        expect(result).toEqual({ index: 0, count: 3 })
        expect((await kvs.root()).seq).toBe(seq)
        const got = await kvs.get('k')
        expect(got && Buffer.compare(got, bytes)).toBe(0)
      })

      it('a sealed log refuses appends and goes on to be read', async () => {
        await kvs.append('k', 'all', { seal: true })
        expect(await kvs.stat('k')).toMatchObject({ sealed: true, count: 1 })
        expect(await refusal(kvs.append('k', 'more'))).toMatchObject({ code: 'ESEALED' })
        await kvs.put('k', 'new')
        expect((await kvs.stat('k'))?.sealed).toBe(false)
      })

      it('seal makes a log of a value, changes nothing the second time, and wants the key there', async () => {
        await kvs.put('k', 'v')
        await kvs.commit({ ops: [{ op: 'seal', key: 'k' }] })
        expect(await kvs.stat('k')).toMatchObject({ type: 'valref', sealed: true, count: 1 })
        await kvs.commit({ ops: [{ op: 'seal', key: 'k' }] })
        const nothing = kvs.commit({ ops: [{ op: 'seal', key: 'none' }] })
        expect(await refusal(nothing)).toMatchObject({ code: 'ENOENT', failed: { op: 0 } })
      })

      it('many appends at once are each there once, in one order', async () => {
        const answers = await Promise.all(
          Array.from({ length: 300 }, (_, index) => kvs.append('log', `${index}\n`)),
        )
        const at = new Map(answers.map(({ result }, index) => [result.index, index]))
        expect(at.size).toBe(300)
        const lines = text(await kvs.get('log'))
          .trimEnd()
          .split('\n')
          .map(Number)
        expect(lines).toEqual(Array.from({ length: 300 }, (_, index) => at.get(index)))
      })

      it('a read by index gives one blob, ENOENT past the end', async () => {
        await kvs.append('log', 'a')
        await kvs.append('log', 'bc')
        expect(text(await joined((await kvs.read('log', { index: 1 }))?.chunks))).toBe('bc')
        expect(await refusal(kvs.read('log', { index: 2 }))).toMatchObject({ code: 'ENOENT' })
      })
    })

    describe('what an op meets', () => {
      beforeEach(async () => {
        await kvs.commit({
          ops: [
            { op: 'put', key: 'dir/value', value: 'v' },
            { op: 'symlink', key: 'link', target: 'dir/value' },
            { op: 'mkdir', key: 'empty' },
          ],
        })
      })

      const wrongOps = [
        ['put', { op: 'put', key: 'dir', value: 'x' }, 'EISDIR'],
        ['put on the root directory', { op: 'put', key: '/', value: 'x' }, 'EISDIR'],
        ['put below a value', { op: 'put', key: 'dir/value/x', value: 'x' }, 'ENOTDIR'],
        ['append to a directory', { op: 'append', key: 'dir', value: 'x' }, 'EISDIR'],
        ['mkdir on a value', { op: 'mkdir', key: 'dir/value' }, 'EEXIST'],
        ['unlink of a full directory', { op: 'unlink', key: 'dir' }, 'ENOTEMPTY'],
        ['unlink of the root directory', { op: 'unlink', key: '', recursive: true }, 'EPERM'],
        ['symlink on a directory', { op: 'symlink', key: 'dir', target: 'x' }, 'EISDIR'],
        ['a component ..', { op: 'put', key: 'a/../b', value: 'x' }, 'EINVAL'],
        ['NUL', { op: 'put', key: 'a\0b', value: 'x' }, 'EINVAL'],
        ['a component above 255 bytes', { op: 'put', key: 'é'.repeat(128), value: 'x' }, 'EINVAL'],
      ] as const
      it('one that cannot be applied is refused, and nothing is changed', async () => {
        const before = await kvs.root()
        for (const [name, op, code] of wrongOps) {
          const failing = kvs.commit({ ops: [{ op: 'put', key: 'new', value: 'x' }, op] })
          expect(await refusal(failing), name).toMatchObject({ code, failed: { op: 1 } })
          const after = await kvs.root()
          expect([after.seq, after.ref], name).toEqual([before.seq, before.ref])
          expect(await kvs.get('new'), name).toBeUndefined()
        }
      })

      it('mkdir of a directory and unlink of nothing change nothing but the seq', async () => {
        const before = await kvs.root()
        await kvs.commit({
          ops: [
            { op: 'mkdir', key: 'dir' },
            { op: 'unlink', key: 'no/such' },
          ],
        })
        const after = await kvs.root()
        expect(after).toMatchObject({ seq: before.seq + 1, ref: before.ref })
      })

      it('unlink takes a value, a link itself, an empty directory, and with recursive a full one', async () => {
        await kvs.commit({
          ops: [
            { op: 'unlink', key: 'link' },
            { op: 'unlink', key: 'empty' },
          ],
        })
        expect(text(await kvs.get('dir/value'))).toBe('v')
        await kvs.commit({ ops: [{ op: 'unlink', key: 'dir', recursive: true }] })
        expect(await kvs.list('/')).toMatchObject({ entries: [], more: false })
      })

      it('put on a link replaces the link; append goes through it', async () => {
        await kvs.append('link', '+')
        expect(text(await kvs.get('dir/value'))).toBe('v+')
        await kvs.put('link', 'own')
        expect(text(await kvs.get('dir/value'))).toBe('v+')
        expect(await kvs.stat('link', { nofollow: true })).toMatchObject({ type: 'val' })
      })

      it('links are followed in the middle and at the end, at most ten', async () => {
        await kvs.commit({ ops: [{ op: 'symlink', key: 'to-dir', target: 'dir' }] })
        expect(text(await kvs.get('to-dir/value'))).toBe('v')
        await kvs.put('to-dir/new', 'n')
        expect(text(await kvs.get('dir/new'))).toBe('n')
        expect(await kvs.stat('to-dir', { nofollow: true })).toMatchObject({
          type: 'symlink',
          target: 'dir',
        })
        await kvs.commit({
          ops: [
            { op: 'symlink', key: 'a', target: 'b' },
            { op: 'symlink', key: 'b', target: 'a' },
          ],
        })
        expect(await refusal(kvs.get('a'))).toMatchObject({ code: 'ELOOP' })
        expect(await refusal(kvs.append('a', 'x'))).toMatchObject({ code: 'ELOOP' })
        expect(await kvs.get('link-to-nothing')).toBeUndefined()
      })

      it('a link leads into another namespace for reads, not for writes', async () => {
        await kvs.namespaces.create('other')
        await kvs.put('there', 'far', { namespace: 'other' })
        await kvs.commit({
          ops: [{ op: 'symlink', key: 'far', target: 'there', namespace: 'other' }],
        })
        expect(text(await kvs.get('far'))).toBe('far')
        expect(await refusal(kvs.append('far', 'x'))).toMatchObject({ code: 'EPERM' })
      })
    })

    describe('time', () => {
      it('at reads an older root, minSeq and waitSeq wait for a newer one', async () => {
        await kvs.put('k', 'old')
        await kvs.put('k', 'new')
        expect(text(await kvs.get('k', { at: 1 }))).toBe('old')
        expect(await kvs.get('k', { at: 0 })).toBeUndefined()
        expect(await refusal(kvs.get('k', { at: 3 }))).toMatchObject({ code: 'EINVAL' })
        const later = kvs.get('k', { minSeq: 3 })
        const root = kvs.root({ waitSeq: 3 })
        await kvs.put('k', 'newest')
        expect(text(await later)).toBe('newest')
        expect((await root).seq).toBeGreaterThanOrEqual(3)
      })

      it('a wait that is canceled is ECANCELED', async () => {
        const controller = new AbortController()
        const waiting = kvs.root({ waitSeq: 9, signal: controller.signal })
        controller.abort()
        expect(await refusal(waiting)).toMatchObject({ code: 'ECANCELED' })
      })
    })

    describe('listings', () => {
      it('list() pages in UTF-8 byte order, from any name', async () => {
        const names = ['10', '2', 'Z', '__proto__', 'a', 'ä', '\uffee', '\u{1f600}']
        const ops = names.map((name) => ({ op: 'put', key: `d/${name}`, value: name }) as const)
        await kvs.commit({ ops: [...ops].reverse() })
        const all = await kvs.list('d')
        expect(all.entries.map(({ name }) => name)).toEqual(names)
        const page = await kvs.list('d', { limit: 3 })
        expect(page).toMatchObject({ more: true })
        const rest = await kvs.list('d', { after: page.entries[2]?.name ?? '' })
        expect(rest.entries.map(({ name }) => name)).toEqual(names.slice(3))
        expect(rest.more).toBe(false)
        expect((await kvs.list('d', { after: 'b' })).entries[0]?.name).toBe('ä')
      })

      it('a recursive listing names every key below, page by page as in one', async () => {
        const keys = ['a', 'b/c', 'b/d/e', 'b/d/f', 'g/h']
        await kvs.commit({ ops: keys.map((key) => ({ op: 'put', key, value: '12' }) as const) })
        const whole = await kvs.list('', { recursive: true })
        const names = ['a', 'b', 'b/c', 'b/d', 'b/d/e', 'b/d/f', 'g', 'g/h']
        expect(whole.entries.map(({ name }) => name)).toEqual(names)
        expect(whole.entries[1]).toMatchObject({ type: 'dir', count: 3, size: 6 })
        const paged: string[] = []
        for (let more = true; more; ) {
          const after = paged.at(-1)
          const page = await kvs.list('', {
            recursive: true,
            limit: 1,
            ...(after ? { after } : {}),
          })
          paged.push(...page.entries.map(({ name }) => name))
          more = page.more
        }
        expect(paged).toEqual(names)
      })

      it('list() of nothing is ENOENT, of a value ENOTDIR', async () => {
        await kvs.put('v', '')
        expect(await refusal(kvs.list('none'))).toMatchObject({ code: 'ENOENT' })
        expect(await refusal(kvs.list('v'))).toMatchObject({ code: 'ENOTDIR' })
      })

      it('treeobj() shows RFC 11, refs paged with sizes beside them', async () => {
        await kvs.put('v', 'hi')
        expect(await kvs.treeobj('v')).toMatchObject({ ver: 1, type: 'val', data: 'aGk=' })
        for (const each of ['a', 'bb', 'ccc']) await kvs.append('log', each)
        const page = await kvs.treeobj('log', { limit: 2 })
        expect(page).toMatchObject({ ver: 1, type: 'valref', sizes: [1, 2], count: 3, size: 6 })
        const rest = await kvs.treeobj('log', { after: page?.next ?? -1 })
        expect(rest).toMatchObject({ sizes: [3] })
        expect(await kvs.treeobj('')).toMatchObject({ ver: 1, type: 'dirref' })
        expect(await kvs.treeobj('none')).toBeUndefined()
      })
    })

    describe('namespaces', () => {
      it('are made, listed, kept apart, removed, and made anew with another incarnation', async () => {
        const one = await kvs.namespaces.create('ci')
        expect(await refusal(kvs.namespaces.create('ci'))).toMatchObject({ code: 'EEXIST' })
        expect(await refusal(kvs.namespaces.create('Bad name'))).toMatchObject({ code: 'EINVAL' })
        await kvs.put('k', 'v', { namespace: 'ci' })
        expect(await kvs.get('k')).toBeUndefined()
        const listed = await kvs.namespaces.list()
        expect(listed.map(({ name }) => name)).toEqual(expect.arrayContaining(['ci', 'primary']))
        expect(listed.find(({ name }) => name === 'ci')).toMatchObject({ seq: 1, keys: 1, size: 1 })
        await kvs.namespaces.remove('ci')
        expect(await refusal(kvs.get('k', { namespace: 'ci' }))).toMatchObject({ code: 'ENONS' })
        expect(await refusal(kvs.namespaces.remove('ci'))).toMatchObject({ code: 'ENONS' })
        const two = await kvs.namespaces.create('ci')
        expect(two.incarnation).not.toBe(one.incarnation)
        expect(await kvs.get('k', { namespace: 'ci' })).toBeUndefined()
        expect(await refusal(kvs.namespaces.remove('primary'))).toMatchObject({ code: 'EPERM' })
      })

      it('tell what they hold, and usage what the store does: a quota bounds what is live alone', async () => {
        const size = 100_000
        const before = await kvs.upkeep.usage()
        await kvs.namespaces.create('held')
        await kvs.namespaces.configure('held', { quota: 2 * size })
        for (let i = 0; i < 4; i++) {
          await kvs.put('k', Buffer.from(patterned(size).fill(i, 0, 50)), { namespace: 'held' })
        }
        const held = (await kvs.namespaces.list()).find(({ name }) => name === 'held')
        expect(held).toMatchObject({ size })
        expect(held?.historySize).toBeGreaterThanOrEqual(3 * size)
        expect(held?.historySize).toBeLessThan(3.1 * size)
        const after = await kvs.upkeep.usage()
        expect(after.live - before.live).toBeGreaterThanOrEqual(size)
        expect(after.history - before.history).toBeGreaterThanOrEqual(3 * size)
        expect(after.stored - before.stored).toBeGreaterThanOrEqual(4 * size)
        if (after.disk !== undefined) expect(after.disk).toBeGreaterThanOrEqual(after.stored)
        await kvs.namespaces.configure('held', { historyCount: 1, historyAgeMs: 0 })
        const now = (await kvs.namespaces.list()).find(({ name }) => name === 'held')
        expect(now?.historySize).toBe(0)
        await kvs.namespaces.remove('held')
      })
    })
  })
}

function patterned(size: number): Buffer {
  const bytes = Buffer.alloc(size)
  for (let at = 0; at < size; at++) bytes[at] = (at * 31 + (at >> 8)) & 255
  return bytes
}

async function* chunksOf(bytes: Uint8Array, step: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step)
}

async function joined(chunks: AsyncIterable<Uint8Array> | undefined): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const chunk of chunks ?? []) all.push(chunk)
  return Buffer.concat(all)
}
