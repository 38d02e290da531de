/** The contract of `Kvs`, copy, fork, move and restore: rfc/18, rules 1 to 5. */

import { beforeEach, describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import type { Op } from '../../src/api/transaction.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { seeds, treeOf } from './copied.js'
import { refusal, text } from './expect.js'

export function copyContract(kvsOf: () => Kvs): void {
  let kvs: Kvs
  const run = (...ops: Op[]) => kvs.commit({ ops })
  const refused = (...ops: Op[]) => refusal(kvs.commit({ ops }))
  const tree = (key?: string, namespace?: string) => treeOf(kvs, key, namespace)
  describe('copies', () => {
    beforeEach(async () => {
      kvs = kvsOf()
      await run(...seeds)
    })

    describe('copy', () => {
      it('gives another key the same content: ref, seal and content type, parents made', async () => {
        const { results } = await run(
          { op: 'copy', from: 'v', key: 'new/v' },
          { op: 'copy', from: 'log', key: 'new/log' },
          { op: 'copy', from: 'd', key: 'new/d' },
        )
        for (const [index, key] of ['v', 'log', 'd'].entries()) {
          const before = await kvs.stat(key)
          expect(await kvs.stat(`new/${key}`)).toEqual(before)
          expect(results[index]).toEqual({ ref: before?.ref })
        }
        expect(await tree('new/d')).toEqual({ a: 'A', b: '/', 'b/c': 'C', 'to-v': '-> v' })
        expect(await refusal(kvs.append('new/log', 'x'))).toMatchObject({ code: 'ESEALED' })
      })

      it('and the two then go their own ways', async () => {
        await run({ op: 'copy', from: 'd', key: 'e' }, { op: 'copy', from: 'v', key: 'w' })
        await run(
          { op: 'put', key: 'd/a', value: 'new' },
          { op: 'append', key: 'w', value: '+' },
          { op: 'unlink', key: 'e/b', recursive: true },
        )
        expect(await tree('e')).toEqual({ a: 'A', 'to-v': '-> v' })
        expect(await tree('d')).toEqual({ a: 'new', b: '/', 'b/c': 'C', 'to-v': '-> v' })
        expect([text(await kvs.get('v')), text(await kvs.get('w'))]).toEqual(['value', 'value+'])
      })

      it('follows a link at its source, and replaces one at its target', async () => {
        await run({ op: 'copy', from: 'link', key: 'nowhere' })
        expect(await kvs.stat('nowhere', { nofollow: true })).toMatchObject({
          type: 'valref',
          count: 3,
        })
        expect(await kvs.stat('none')).toBeUndefined()
      })

      it('of a directory into itself works on the state before', async () => {
        await run({ op: 'copy', from: 'd', key: 'd/b/self' })
        expect(await tree('d/b')).toEqual({
          c: 'C',
          self: '/',
          'self/a': 'A',
          'self/b': '/',
          'self/b/c': 'C',
          'self/to-v': '-> v',
        })
        await run({ op: 'copy', from: 'd/b/self', key: 'd', replace: true })
        expect(await tree('d')).toEqual({ a: 'A', b: '/', 'b/c': 'C', 'to-v': '-> v' })
      })

      const wrongCopies = [
        ['a missing source', { op: 'copy', from: 'none', key: 'x' }, 'ENOENT'],
        ['a link that leads nowhere', { op: 'copy', from: 'nowhere', key: 'x' }, 'ENOENT'],
        ['a full directory in the way', { op: 'copy', from: 'v', key: 'd' }, 'EISDIR'],
        [
          'a full directory in the way of a directory',
          { op: 'copy', from: 'empty', key: 'd' },
          'EISDIR',
        ],
        ['a target below a value', { op: 'copy', from: 'd', key: 'v/x' }, 'ENOTDIR'],
        [
          'a value as the root directory',
          { op: 'copy', from: 'v', key: '/', replace: true },
          'EISDIR',
        ],
        [
          'a namespace that is not there',
          { op: 'copy', from: 'v', key: 'x', namespace: 'no' },
          'ENONS',
        ],
        ['a seq that is not there yet', { op: 'copy', from: 'v', key: 'x', at: 99 }, 'EINVAL'],
        [
          'a ref of no root',
          { op: 'copy', from: 'v', key: 'x', at: `blake3-${'0'.repeat(64)}` },
          'ECOMPACTED',
        ],
        ['what is no ref', { op: 'copy', from: 'v', key: 'x', at: 'yesterday' }, 'EINVAL'],
      ] as const
      it('one that cannot be made is refused, and nothing is changed', async () => {
        const before = await kvs.root()
        for (const [name, op, code] of wrongCopies) {
          const error = await refused({ op: 'put', key: 'new', value: '' }, op)
          expect(error, name).toMatchObject({ code, failed: { op: 1 } })
          expect(await kvs.root(), name).toEqual(before)
        }
      })

      it('replaces values, logs and links, empty directories, and full ones when told', async () => {
        await run(
          { op: 'copy', from: 'd', key: 'v' },
          { op: 'copy', from: 'log', key: 'empty' },
          { op: 'copy', from: 'd/a', key: 'd', replace: true },
        )
        expect(await tree('v')).toEqual({ a: 'A', b: '/', 'b/c': 'C', 'to-v': '-> v' })
        expect(text(await kvs.get('empty'))).toBe('onetwothree')
        expect(text(await kvs.get('d'))).toBe('A')
      })

      it('of and to the root directory', async () => {
        const before = await tree()
        await run({ op: 'copy', from: '/', key: 'backup' }, { op: 'put', key: 'late', value: 'x' })
        expect(await tree('backup')).toEqual(before)
        await run({ op: 'copy', from: 'backup', key: '/', replace: true })
        expect(await tree()).toEqual(before)
      })

      it('from an older root, by its seq or its ref', async () => {
        const old = await kvs.root()
        await run(
          { op: 'put', key: 'd/a', value: 'new' },
          { op: 'unlink', key: 'd/b', recursive: true },
        )
        await run(
          { op: 'copy', from: 'd', key: 'by-seq', at: old.seq },
          { op: 'copy', from: 'd/b', key: 'by-ref', at: old.ref },
        )
        expect(await tree('by-seq')).toEqual({ a: 'A', b: '/', 'b/c': 'C', 'to-v': '-> v' })
        expect(await tree('by-ref')).toEqual({ c: 'C' })
      })

      it('from another namespace, now or at one of its roots', async () => {
        await kvs.namespaces.create('other')
        const scope = { namespace: 'other' }
        await kvs.put('x/y', 'first', scope)
        const old = await kvs.root(scope)
        await kvs.put('x/y', 'second', scope)
        await run(
          { op: 'copy', from: 'x', key: 'now', ...scope },
          { op: 'copy', from: 'x/y', key: 'then', at: old.ref, ...scope },
          { op: 'copy', from: '/', key: 'all', ...scope },
        )
        expect(await tree('now')).toEqual({ y: 'second' })
        expect(text(await kvs.get('then'))).toBe('first')
        expect(await tree('all')).toEqual({ x: '/', 'x/y': 'second' })
        await kvs.namespaces.remove('other')
        expect(await tree('now')).toEqual({ y: 'second' })
      })
    })

    describe('fork', () => {
      it('is the first blobs of a log, open again', async () => {
        const { results } = await run({ op: 'fork', from: 'log', key: 'f/two', count: 2 })
        const stat = await kvs.stat('f/two')
        expect(results).toEqual([{ ref: stat?.ref, count: 2 }])
        expect(stat).toMatchObject({ type: 'valref', count: 2, size: 6, sealed: false })
        expect((await kvs.append('f/two', '!')).result).toEqual({ index: 2, count: 3 })
        expect(text(await kvs.get('f/two'))).toBe('onetwo!')
        expect(text(await kvs.get('log'))).toBe('onetwothree')
      })

      it('of all its blobs drops the seal, of none is an empty log, of a value a log of one', async () => {
        await run(
          { op: 'fork', from: 'link', key: 'all', count: 3 },
          { op: 'fork', from: 'log', key: 'none', count: 0 },
          { op: 'fork', from: 'v', key: 'one', count: 1 },
        )
        expect(await kvs.stat('all')).toMatchObject({ count: 3, size: 11, sealed: false })
        expect(await kvs.stat('none')).toMatchObject({ type: 'valref', count: 0, size: 0 })
        expect(await kvs.stat('one')).toMatchObject({
          type: 'valref',
          count: 1,
          attrs: { contentType: 'text/plain' },
        })
        expect((await kvs.append('none', 'x')).result).toEqual({ index: 0, count: 1 })
      })

      it('refuses more blobs than there are, and what is no log', async () => {
        expect(await refused({ op: 'fork', from: 'log', key: 'f', count: 4 })).toMatchObject({
          code: 'EINVAL',
          failed: { op: 0, state: { count: 3 } },
        })
        expect(await refused({ op: 'fork', from: 'd', key: 'f', count: 0 })).toMatchObject({
          code: 'EISDIR',
        })
        expect(await refused({ op: 'fork', from: 'none', key: 'f', count: 0 })).toMatchObject({
          code: 'ENOENT',
        })
      })

      it('of a long log, at every edge of its pages, has the same ref as the same appends', async () => {
        const ops = Array.from(
          { length: 1_100 },
          (_, at): Op => ({ op: 'append', key: 'long', value: `${at};` }),
        )
        await run(...ops)
        for (const count of [1, 31, 32, 33, 1_023, 1_024, 1_025, 1_099]) {
          await run(
            { op: 'fork', from: 'long', key: 'head', count },
            ...ops.slice(count).map((op): Op => ({ ...op, key: 'head' })),
          )
          expect((await kvs.stat('head'))?.ref).toBe((await kvs.stat('long'))?.ref)
        }
      })
    })

    describe('move', () => {
      it('takes values, logs, directories, and a link itself', async () => {
        await run(
          { op: 'move', from: 'v', key: 'm/v' },
          { op: 'move', from: 'log', key: 'm/log' },
          { op: 'move', from: 'd', key: 'm/d' },
          { op: 'move', from: 'nowhere', key: 'm/nowhere' },
          { op: 'unlink', key: 'link' },
        )
        expect(await tree()).toEqual({
          empty: '/',
          m: '/',
          'm/d': '/',
          'm/d/a': 'A',
          'm/d/b': '/',
          'm/d/b/c': 'C',
          'm/d/to-v': '-> v',
          'm/log': 'onetwothree',
          'm/nowhere': '-> none',
          'm/v': 'value',
        })
        expect(await kvs.stat('m/log')).toMatchObject({ sealed: true, count: 3 })
      })

      it('replaces as a copy does; onto itself it changes nothing', async () => {
        await run({ op: 'move', from: 'd', key: 'v' }, { op: 'move', from: 'log', key: 'empty' })
        expect(await kvs.stat('d')).toBeUndefined()
        const before = await kvs.root()
        await run({ op: 'move', from: 'v', key: '/v/' })
        expect((await kvs.root()).ref).toBe(before.ref)
        expect(await refused({ op: 'move', from: 'empty', key: 'v' })).toMatchObject({
          code: 'EISDIR',
        })
        await run({ op: 'move', from: 'v/b', key: 'v', replace: true })
        expect(await tree('v')).toEqual({ c: 'C' })
        await run({ op: 'move', from: 'v', key: '/', replace: true })
        expect(await tree()).toEqual({ c: 'C' })
      })

      it.each([
        ['into itself', { op: 'move', from: 'd', key: 'd/b/d' }, 'EINVAL'],
        ['into itself, over a link', { op: 'move', from: 'd', key: 'to-b/x' }, 'EINVAL'],
        ['of nothing', { op: 'move', from: 'none', key: 'x' }, 'ENOENT'],
        ['of the root directory', { op: 'move', from: '/', key: 'x' }, 'EPERM'],
        ['below a value', { op: 'move', from: 'd', key: 'v/x' }, 'ENOTDIR'],
      ] as const)('%s is refused, and nothing is changed', async (_, op, code) => {
        await run({ op: 'symlink', key: 'to-b', target: 'd/b' })
        const before = await kvs.root()
        expect(await refused(op)).toMatchObject({ code, failed: { op: 0 } })
        expect(await kvs.root()).toEqual(before)
      })

      it('a chain of moves in one transaction turns three keys round', async () => {
        await run(
          { op: 'move', from: 'v', key: 'tmp' },
          { op: 'move', from: 'd/a', key: 'v' },
          { op: 'move', from: 'tmp', key: 'd/a' },
        )
        expect([text(await kvs.get('v')), text(await kvs.get('d/a'))]).toEqual(['A', 'value'])
        expect(await kvs.stat('tmp')).toBeUndefined()
      })

      it('from another namespace moves both, or neither', async () => {
        await kvs.namespaces.create('other')
        const scope = { namespace: 'other' }
        await kvs.commit(
          {
            ops: [
              { op: 'put', key: 'x/y', value: 'Y' },
              { op: 'put', key: 'x/z', value: 'Z' },
            ],
          },
          scope,
        )
        const { seq } = await kvs.root()
        const moved = await run(
          { op: 'move', from: 'x', key: 'here', ...scope },
          { op: 'append', key: 'v', value: '!' },
        )
        expect(moved.seq).toBe(seq + 1)
        expect(await tree('here')).toEqual({ y: 'Y', z: 'Z' })
        expect(await tree('/', 'other')).toEqual({})
        expect(await kvs.root(scope)).toMatchObject({ seq: 2 })
        await kvs.put('w', 'W', scope)
        const before = [await kvs.root(), await kvs.root(scope)]
        expect(
          await refused(
            { op: 'move', from: 'w', key: 'w', ...scope },
            { op: 'put', key: 'd', value: '' },
          ),
        ).toMatchObject({ code: 'EISDIR', failed: { op: 1 } })
        expect(await refused({ op: 'move', from: 'none', key: 'w', ...scope })).toMatchObject({
          code: 'ENOENT',
        })
        expect([await kvs.root(), await kvs.root(scope)]).toEqual(before)
        expect(
          await refused({ op: 'move', from: 'x', key: 'y', namespace: 'nowhere' }),
        ).toMatchObject({ code: 'ENONS' })
        expect(await refused({ op: 'move', from: 'x', key: 'y', namespace: 'jobs' })).toMatchObject(
          {
            code: 'EPERM',
          },
        )
      })

      it('many at once, both ways between two namespaces, lose and double nothing', async () => {
        await kvs.namespaces.create('other')
        const keys = Array.from({ length: 12 }, (_, at) => `k${at}`)
        await kvs.commit({ ops: keys.map((key) => ({ op: 'put', key: `a/${key}`, value: key })) })
        await Promise.all(
          keys.map(async (key, at) => {
            await kvs.commit(
              { ops: [{ op: 'move', from: `a/${key}`, key, namespace: 'primary' }] },
              { namespace: 'other' },
            )
            if (at % 2 === 0)
              await run({ op: 'move', from: key, key: `back/${key}`, namespace: 'other' })
            else await kvs.append(`noise`, key)
          }),
        )
        expect(Object.keys(await tree('back'))).toEqual(keys.filter((_, at) => at % 2 === 0).sort())
        expect(Object.keys(await tree('/', 'other'))).toEqual(
          keys.filter((_, at) => at % 2 === 1).sort(),
        )
        expect(await tree('a')).toEqual({})
      })
    })

    describe('restore', () => {
      it('makes a key what it was, or removes it', async () => {
        const { seq, ref } = await kvs.root()
        await run(
          { op: 'put', key: 'd/a', value: 'new' },
          { op: 'put', key: 'd/young', value: 'young' },
          { op: 'unlink', key: 'd/b', recursive: true },
          { op: 'put', key: 'link', value: 'no link' },
        )
        const { results } = await run(
          { op: 'restore', key: 'd/a', at: seq },
          { op: 'restore', key: 'd/b/c', at: ref },
          { op: 'restore', key: 'd/young', at: seq },
          { op: 'restore', key: 'link', at: seq },
          { op: 'restore', key: 'never', at: seq },
        )
        expect(results).toEqual([
          { ref: (await kvs.stat('d/a'))?.ref },
          { ref: (await kvs.stat('d/b/c'))?.ref },
          {},
          { ref: (await kvs.stat('link', { nofollow: true }))?.ref },
          {},
        ])
        expect(await tree('d')).toEqual({ a: 'A', b: '/', 'b/c': 'C', 'to-v': '-> v' })
        expect(await kvs.stat('link', { nofollow: true })).toMatchObject({ target: 'log' })
      })

      it('replaces a directory by a value and a value by a directory', async () => {
        const { seq } = await kvs.root()
        await run(
          { op: 'unlink', key: 'd', recursive: true },
          { op: 'put', key: 'd', value: 'v' },
          { op: 'unlink', key: 'v' },
          { op: 'put', key: 'v/below', value: 'x' },
        )
        await run({ op: 'restore', key: 'd', at: seq }, { op: 'restore', key: 'v', at: seq })
        expect(await tree('d')).toEqual({ a: 'A', b: '/', 'b/c': 'C', 'to-v': '-> v' })
        expect(text(await kvs.get('v'))).toBe('value')
        expect(
          await refused(
            { op: 'put', key: 'v', value: '' },
            { op: 'restore', key: 'd/b/c', at: 0 },
            { op: 'restore', key: 'x', at: 99 },
          ),
        ).toMatchObject({ code: 'EINVAL', failed: { op: 2 } })
      })

      it('of the whole tree gives the same tree, and nothing where nothing differs', async () => {
        const { seq } = await kvs.root()
        const ref = (await kvs.stat('/'))?.ref
        for (const key of ['v', 'log', 'new', 'd/a']) await kvs.put(key, 'other')
        await run({ op: 'unlink', key: 'empty' })
        await run({ op: 'restore', key: '/', at: seq })
        expect((await kvs.stat('/'))?.ref).toBe(ref)
        await run({ op: 'restore', key: '', at: seq }, { op: 'restore', key: 'd', at: seq })
        expect((await kvs.stat('/'))?.ref).toBe(ref)
        await run({ op: 'restore', key: '/', at: 0 })
        expect(await tree()).toEqual({})
      })
    })

    describe('a namespace made of another', () => {
      it('has its tree, now or at one of its roots, and goes its own way', async () => {
        const old = await kvs.root()
        const bytes = Buffer.alloc(2 * blobSizeMax + 1, 'x')
        await kvs.put('large', bytes)
        const now = await kvs.namespaces.create('now', { from: {} })
        const then = await kvs.namespaces.create('then', {
          from: { namespace: 'primary', at: old.ref },
        })
        expect(now.size).toBe(then.size + bytes.length)
        expect(await tree('d', 'then')).toEqual(await tree('d'))
        await kvs.put('d/a', 'other', { namespace: 'then' })
        expect(text(await kvs.get('d/a'))).toBe('A')
        expect((await kvs.get('large', { namespace: 'now' }))?.length).toBe(bytes.length)
        expect(
          await refusal(kvs.namespaces.create('bad', { from: { namespace: 'none' } })),
        ).toMatchObject({ code: 'ENONS' })
        expect(await refusal(kvs.namespaces.create('bad', { from: { at: 99 } }))).toMatchObject({
          code: 'EINVAL',
        })
      })
    })
  })
}
