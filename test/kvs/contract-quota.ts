/** The contract of `Kvs`, quotas: rfc/6, rule 35. */

import { beforeEach, describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import { refusal, text } from './expect.js'

export function quotaContract(kvsOf: () => Kvs): void {
  describe('a quota', () => {
    let kvs: Kvs
    beforeEach(async () => {
      kvs = kvsOf()
      await kvs.put('held', Buffer.alloc(90))
      await kvs.namespaces.configure('primary', { quota: 100 })
    })

    it('lets in what reaches it, and refuses what would cross it by a byte', async () => {
      await kvs.put('a', Buffer.alloc(10))
      expect(await refusal(kvs.append('a', 'x'))).toMatchObject({
        code: 'EDQUOT',
        failed: { state: { size: 101, quota: 100 } },
      })
      expect((await kvs.stat('/'))?.size).toBe(100)
    })

    it('is judged by what the whole transaction leaves', async () => {
      await kvs.commit({
        ops: [
          { op: 'put', key: 'large', value: Buffer.alloc(95) },
          { op: 'unlink', key: 'held' },
        ],
      })
      const copies = [{ op: 'copy', from: 'large', key: 'copy' } as const]
      expect(await refusal(kvs.commit({ ops: copies }))).toMatchObject({
        code: 'EDQUOT',
        failed: { state: { size: 190, quota: 100 } },
      })
    })

    it('above it reads, removals and what does not grow go on', async () => {
      await kvs.namespaces.configure('primary', { quota: 50 })
      expect((await kvs.get('held'))?.length).toBe(90)
      expect(await refusal(kvs.put('a', 'x'))).toMatchObject({ code: 'EDQUOT' })
      await kvs.put('empty', '')
      await kvs.put('held', Buffer.alloc(89))
      await kvs.commit({ ops: [{ op: 'move', from: 'held', key: 'moved' }] })
      await kvs.commit({ ops: [{ op: 'unlink', key: 'moved' }] })
      await kvs.put('a', 'x')
      expect(text(await kvs.get('a'))).toBe('x')
    })

    it('of one namespace leaves the others alone, and goes when it is taken away', async () => {
      await kvs.namespaces.create('other')
      await kvs.put('k', Buffer.alloc(1_000), { namespace: 'other' })
      expect(
        await refusal(
          kvs.commit({ ops: [{ op: 'move', from: 'k', key: 'k', namespace: 'other' }] }),
        ),
      ).toMatchObject({ code: 'EDQUOT' })
      expect((await kvs.get('k', { namespace: 'other' }))?.length).toBe(1_000)
      await kvs.namespaces.configure('primary', { quota: null })
      await kvs.put('k', Buffer.alloc(1_000))
    })
  })
}
