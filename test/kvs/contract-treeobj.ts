/** The contract of `Kvs`, blobs by their refs and raw treeobjs: rfc/18, rules 7 to 11. */

import { beforeEach, describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import type { Op } from '../../src/api/transaction.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { hashBlob } from '../../src/blob/hash.js'
import type { TreeobjJson } from '../../src/treeobj/treeobj.js'
import { refusal, text } from './expect.js'

const nowhere = `blake3-${'0'.repeat(64)}`

export function treeobjContract(kvsOf: () => Kvs): void {
  describe('treeobjs', () => {
    let kvs: Kvs
    const run = (...ops: Op[]) => kvs.commit({ ops })
    const put = (key: string, treeobj: unknown, dangling?: true): Promise<unknown> =>
      run({ op: 'treeobj', key, treeobj, ...(dangling ? { dangling } : {}) })
    /** As GET shows it, pages joined. */
    const shown = async (key: string): Promise<TreeobjJson> => {
      const json = await kvs.treeobj(key, { limit: 10_000 })
      if (!json) throw new Error(`${key} is not there`)
      return json
    }
    beforeEach(async () => {
      kvs = kvsOf()
    })

    describe('blobs', () => {
      it('are stored and loaded by their refs, at every edge of their size', async () => {
        for (const size of [0, 1, 257, blobSizeMax]) {
          const bytes = Buffer.alloc(size, 'b')
          const ref = await kvs.blobs.store(bytes)
          expect(ref).toBe(hashBlob(bytes))
          expect(Buffer.compare((await kvs.blobs.load(ref)) ?? bytes.subarray(1), bytes)).toBe(0)
        }
        expect(await refusal(kvs.blobs.store(Buffer.alloc(blobSizeMax + 1)))).toMatchObject({
          code: 'E2BIG',
        })
      })

      it('that are not there are undefined, and a node is none', async () => {
        await kvs.put('d/k', 'v')
        const { data } = await shown('d')
        expect(await kvs.blobs.load(String(data))).toBeUndefined()
        expect(await kvs.blobs.load((await kvs.root()).ref)).toBeUndefined()
        expect(await kvs.blobs.load(nowhere)).toBeUndefined()
        expect(await refusal(kvs.blobs.load('blake3-xyz'))).toMatchObject({ code: 'EINVAL' })
        await kvs.append('log', 'a blob')
        expect(text(await kvs.blobs.load(hashBlob(Buffer.from('a blob'))))).toBe('a blob')
      })

      it('that were stored can be named by a treeobj', async () => {
        const refs = [
          await kvs.blobs.store(Buffer.from('ab')),
          await kvs.blobs.store(Buffer.from('cde')),
        ]
        await put('k', { ver: 1, type: 'valref', data: [...refs, refs[0]] })
        expect(await kvs.stat('k')).toMatchObject({ type: 'valref', count: 3, size: 7 })
        expect(text(await kvs.get('k'))).toBe('abcdeab')
        expect((await kvs.append('k', '!')).result).toEqual({ index: 3, count: 4 })
      })
    })

    it('what GET shows, PUT takes: every type comes back with its ref', async () => {
      await run(
        { op: 'put', key: 'all/val', value: 'small', contentType: 'text/plain' },
        { op: 'put', key: 'all/empty-val', value: '' },
        { op: 'put', key: 'all/large', value: Buffer.alloc(2 * blobSizeMax + 5, 'x') },
        { op: 'append', key: 'all/one', value: 'one' },
        { op: 'mkdir', key: 'all/dir' },
        { op: 'symlink', key: 'all/link', target: 'all/val' },
        { op: 'symlink', key: 'all/far', target: 'x', namespace: 'other' },
        { op: 'fork', from: 'all/one', key: 'all/none', count: 0 },
        { op: 'fork', from: 'all/large', key: 'all/cut', count: 2 },
      )
      await run(
        ...Array.from({ length: 100 }, (_, at): Op => {
          return { op: 'append', key: 'all/log', value: `${at % 7}`, seal: at === 99 }
        }),
        ...Array.from(
          { length: 50 },
          (_, at): Op => ({ op: 'append', key: 'all/trimmed', value: `${at}` }),
        ),
        { op: 'trim', key: 'all/trimmed', before: 33 },
        { op: 'append', key: 'all/gone', value: 'x' },
        { op: 'trim', key: 'all/gone', keep: 0 },
      )
      const { entries } = await kvs.list('all')
      expect(entries.map(({ name }) => name)).toHaveLength(12)
      for (const { name } of entries) {
        await put(`again/${name}`, JSON.parse(JSON.stringify(await shown(`all/${name}`))))
        const [before, after] = [
          await kvs.stat(`all/${name}`, { nofollow: true }),
          await kvs.stat(`again/${name}`, { nofollow: true }),
        ]
        expect({ ...after, seq: 0, name }).toEqual({ ...before, seq: 0, name })
      }
      await put('dir', await shown('all'))
      expect((await kvs.stat('dir'))?.ref).toBe((await kvs.stat('all'))?.ref)
      expect((await kvs.stat('again'))?.ref).toBe((await kvs.stat('all'))?.ref)
    })

    it('makes parents, replaces what a put would, and refuses a full directory', async () => {
      const json = { ver: 1, type: 'val', data: 'aGk=' }
      await run({ op: 'mkdir', key: 'empty' }, { op: 'append', key: 'log', value: '' })
      for (const key of ['a/b/c', 'log', 'empty']) {
        await put(key, json)
        expect(text(await kvs.get(key))).toBe('hi')
      }
      expect(await refusal(put('a', json))).toMatchObject({ code: 'EISDIR' })
      expect(await refusal(put('log/x', json))).toMatchObject({ code: 'ENOTDIR' })
    })

    it('one that is malformed is refused with the name of its field', async () => {
      const ref = hashBlob(Buffer.from('blob'))
      const log = { ver: 1, type: 'valref', data: [ref], sizes: [4], count: 1, size: 4 }
      const cases: readonly (readonly [name: string, treeobj: unknown, field: string])[] = [
        ['no object', 'text', 'treeobj'],
        ['an array', [], 'treeobj'],
        ['no version', { type: 'val', data: '' }, 'treeobj.ver'],
        ['another version', { ver: 2, type: 'val', data: '' }, 'treeobj.ver'],
        ['an unknown type', { ver: 1, type: 'blob', data: '' }, 'treeobj.type'],
        ['a type of the prototype', { ver: 1, type: 'toString', data: '' }, 'treeobj.type'],
        ['an unknown field', { ver: 1, type: 'val', data: '', mode: 1 }, 'treeobj.mode'],
        ['a val with sizes', { ver: 1, type: 'val', data: '', sizes: [] }, 'treeobj.sizes'],
        ['a val that is no text', { ver: 1, type: 'val', data: 7 }, 'treeobj.data'],
        ['a val without padding', { ver: 1, type: 'val', data: 'aGk' }, 'treeobj.data'],
        ['a val that is no base64', { ver: 1, type: 'val', data: 'a-_=' }, 'treeobj.data'],
        ['base64 with stray bits', { ver: 1, type: 'val', data: 'aGl=' }, 'treeobj.data'],
        [
          'a val above the inline limit',
          { ver: 1, type: 'val', data: Buffer.alloc(257).toString('base64') },
          'treeobj.data',
        ],
        [
          'a sealed val',
          { ver: 1, type: 'val', data: '', attrs: { sealed: true } },
          'treeobj.attrs.sealed',
        ],
        ['empty attrs', { ver: 1, type: 'val', data: '', attrs: {} }, 'treeobj.attrs'],
        [
          'an unknown attr',
          { ver: 1, type: 'val', data: '', attrs: { owner: 1 } },
          'treeobj.attrs.owner',
        ],
        [
          'a content type of two lines',
          { ver: 1, type: 'val', data: '', attrs: { contentType: 'a\nb' } },
          'treeobj.attrs.contentType',
        ],
        ['refs that are no array', { ...log, data: ref }, 'treeobj.data'],
        ['a malformed ref', { ...log, data: ['blake3-00'] }, 'treeobj.data[0]'],
        ['too few sizes', { ...log, sizes: [] }, 'treeobj.sizes'],
        ['a negative size', { ...log, sizes: [-1] }, 'treeobj.sizes[0]'],
        ['a size above the blob limit', { ...log, sizes: [blobSizeMax + 1] }, 'treeobj.sizes[0]'],
        ['a size that is not the blob’s', { ...log, sizes: [5], size: 5 }, 'treeobj.sizes[0]'],
        ['another size than the blobs have', { ...log, size: 5 }, 'treeobj.size'],
        ['another count', { ...log, count: 2 }, 'treeobj.count'],
        ['a page', { ...log, next: 0 }, 'treeobj.next'],
        ['a seal that is false', { ...log, attrs: { sealed: false } }, 'treeobj.attrs.sealed'],
        ['more of a lone blob', { ...log, more: [true] }, 'treeobj.more'],
        ['more that is never true', { ...log, more: [false] }, 'treeobj.more'],
        [
          'more that is no flag',
          { ...log, data: [ref, ref], sizes: [4, 4], count: 2, size: 8, more: [1, 0] },
          'treeobj.more[0]',
        ],
        [
          'a base without its array',
          { ...log, base: { count: 1, size: 4 }, count: 2, size: 8 },
          'treeobj.ref',
        ],
        ['an array without a base', { ...log, ref }, 'treeobj.ref'],
        ['an empty base', { ...log, base: { count: 0, size: 0 }, ref }, 'treeobj.base.count'],
        ['a directory with entries', { ver: 1, type: 'dir', data: { a: {} } }, 'treeobj.data.a'],
        ['a directory without data', { ver: 1, type: 'dir' }, 'treeobj.data'],
        ['a dirref of two', { ver: 1, type: 'dirref', data: [ref, ref] }, 'treeobj.data'],
        ['a dirref of a blob', { ver: 1, type: 'dirref', data: [ref] }, 'treeobj.data[0]'],
        ['a link that is text', { ver: 1, type: 'symlink', data: 'x' }, 'treeobj.data'],
        ['a link without a target', { ver: 1, type: 'symlink', data: {} }, 'treeobj.data.target'],
        [
          'a link to no normal key',
          { ver: 1, type: 'symlink', data: { target: '/x' } },
          'treeobj.data.target',
        ],
        [
          'a link to ..',
          { ver: 1, type: 'symlink', data: { target: '..' } },
          'treeobj.data.target',
        ],
        [
          'a link into no namespace',
          { ver: 1, type: 'symlink', data: { target: 'x', namespace: 'No' } },
          'treeobj.data.namespace',
        ],
      ]
      await kvs.blobs.store(Buffer.from('blob'))
      const before = await kvs.root()
      for (const [name, treeobj, field] of cases) {
        const error = await refusal(put('k', treeobj))
        expect(error, name).toMatchObject({ code: 'EINVAL', failed: { op: 0 } })
        expect(error.message.split(' ')[0], name).toBe(field)
        expect(await kvs.root(), name).toEqual(before)
      }
    })

    it('of nodes must be what they say', async () => {
      await run(
        { op: 'put', key: 'd/a', value: 'A' },
        { op: 'append', key: 'log', value: '1' },
        { op: 'append', key: 'log', value: '2' },
      )
      const dir = await shown('d')
      expect(await refusal(put('x', { ...dir, count: 2 }))).toMatchObject({ code: 'EINVAL' })
      expect(await refusal(put('x', { ...dir, size: 0 }))).toMatchObject({ code: 'EINVAL' })
      const root = { ver: 1, type: 'dirref', data: [(await kvs.root()).ref] }
      expect(await refusal(put('x', root))).toMatchObject({ code: 'EINVAL' })
      expect(await refusal(put('x', { ver: 1, type: 'valref', data: dir.data }))).toMatchObject({
        code: 'EINVAL',
      })
      await put('x', { ver: 1, type: 'dirref', data: dir.data })
      expect(text(await kvs.get('x/a'))).toBe('A')
      await run({ op: 'trim', key: 'log', before: 1 })
      const trimmed = await shown('log')
      for (const wrong of [
        { size: 3 },
        { base: { count: 1, size: 2 } },
        { sizes: [2] },
        { ref: nowhere },
      ]) {
        expect((await refusal(put('x', { ...trimmed, ...wrong }))).code).toMatch(
          /^(EINVAL|ENOENT)$/,
        )
      }
    })

    describe('that dangle', () => {
      const blob = { ver: 1, type: 'valref', data: [nowhere, nowhere], sizes: [3, 4] }
      const dir = { ver: 1, type: 'dirref', data: [nowhere], count: 2, size: 9 }

      it('are refused unless the owner says so, and then need their sizes', async () => {
        for (const each of [blob, dir]) {
          expect(await refusal(put('k', each))).toMatchObject({
            code: 'ENOENT',
            failed: { op: 0 },
          })
          await put('k', each, true)
        }
        const { sizes: _, ...sizeless } = blob
        expect(await refusal(put('k', sizeless, true))).toMatchObject({ code: 'EINVAL' })
        const { count: __, ...countless } = dir
        expect(await refusal(put('k', countless, true))).toMatchObject({ code: 'EINVAL' })
      })

      it('in the middle of a value are told as what they are, behind what can be read', async () => {
        const held = await kvs.blobs.store(Buffer.alloc(blobSizeMax, 'h'))
        const sizes = [blobSizeMax, blobSizeMax, 4]
        await put('half', { ver: 1, type: 'valref', data: [held, held, nowhere], sizes }, true)
        expect(await refusal(kvs.get('half'))).toMatchObject({ code: 'EDANGLING' })
        for (const from of [0, 100, blobSizeMax]) {
          const reading = await kvs.read('half', { from })
          let size = 0
          const reads = async () => {
            for await (const chunk of reading?.chunks ?? []) size += chunk.length
          }
          expect(await refusal(reads())).toMatchObject({ code: 'EDANGLING' })
          expect(size).toBe(2 * blobSizeMax - from)
        }
      })

      it('hurt no neighbour: only a read through them is EDANGLING', async () => {
        await kvs.put('d/before', 'b')
        await put('d/log', blob, true)
        await put('d/dir', dir, true)
        await kvs.put('d/next', 'n')
        const { entries } = await kvs.list('d')
        expect(entries.map(({ name }) => name)).toEqual(['before', 'dir', 'log', 'next'])
        expect(await kvs.stat('d')).toMatchObject({ count: 5, size: 18 })
        expect(await kvs.stat('d/log')).toMatchObject({ type: 'valref', count: 2, size: 7 })
        expect(await kvs.stat('d/dir')).toMatchObject({ type: 'dir', count: 2, size: 9 })
        expect([text(await kvs.get('d/before')), text(await kvs.get('d/next'))]).toEqual(['b', 'n'])
        expect(await refusal(kvs.get('d/log'))).toMatchObject({ code: 'EDANGLING' })
        expect(await refusal(kvs.list('d/dir'))).toMatchObject({ code: 'EDANGLING' })
        expect(await refusal(kvs.get('d/dir/x'))).toMatchObject({ code: 'EDANGLING' })
        expect(await refusal(kvs.put('d/dir/x', ''))).toMatchObject({ code: 'EDANGLING' })
        // What holds it dangles as well; what is missing can come later.
        const above = await shown('d')
        expect(await refusal(put('e', above))).toMatchObject({ code: 'ENOENT' })
        await put('e', above, true)
        expect(text(await kvs.get('e/next'))).toBe('n')
        await run(
          { op: 'copy', from: 'd', key: 'f' },
          { op: 'unlink', key: 'd', recursive: true },
          { op: 'unlink', key: 'f/dir', recursive: true },
          { op: 'unlink', key: 'f/log' },
        )
        expect((await kvs.list('/')).entries.map(({ name }) => name)).toEqual(['e', 'f'])
        expect((await kvs.list('f')).entries.map(({ name }) => name)).toEqual(['before', 'next'])
      })

      it('are whole once their blob is stored', async () => {
        const bytes = Buffer.from('late')
        await put('k', { ver: 1, type: 'valref', data: [hashBlob(bytes)], sizes: [4] }, true)
        expect(await refusal(kvs.get('k'))).toMatchObject({ code: 'EDANGLING' })
        await kvs.blobs.store(bytes)
        expect(text(await kvs.get('k'))).toBe('late')
      })
    })
  })
}
