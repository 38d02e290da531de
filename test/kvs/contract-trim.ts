/** Trims, as every `Kvs` does them: the base moves, indices and offsets keep their meaning (rfc/19), and
 *  watchers below it are told where the log begins (rfc/7). */

import { describe, expect, it } from 'vitest'
import type { Kvs, ReadOptions } from '../../src/api/kvs.js'
import type { OpResult, TrimTo } from '../../src/api/transaction.js'
import type { From, WatchEvent } from '../../src/api/watch.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { refusal, text } from './expect.js'

export function trimContract(store: () => Kvs): void {
  describe('trim', () => {
    it('moves the base by count, bytes or age; each answers what is gone, and the count', async () => {
      await letters('log', 'a bb ccc dddd eeeee')
      expect(await trim('log', { before: 1 })).toEqual({ base: { count: 1, size: 1 }, count: 5 })
      expect(await trim('log', { keep: 3 })).toEqual({ base: { count: 2, size: 3 }, count: 5 })
      // The blob that holds the sixth byte from the end stays whole.
      expect(await trim('log', { keepBytes: 6 })).toEqual({ base: { count: 3, size: 6 }, count: 5 })
      expect(await trim('log', { keepBytes: 5 })).toEqual({
        base: { count: 4, size: 10 },
        count: 5,
      })
      expect(await trim('log', { olderThan: 0 })).toEqual({
        base: { count: 5, size: 15 },
        count: 5,
      })
      expect(text(await store().get('log'))).toBe('')
      await store().append('log', 'f')
      expect(text(await store().get('log'))).toBe('f')
    })

    it('reads begin at the base; index and byte offsets mean what they meant', async () => {
      await letters('log', 'a bb ccc dddd')
      await trim('log', { before: 2 })
      expect(text(await store().get('log'))).toBe('cccdddd')
      expect(await read('log', {})).toBe('cccdddd')
      expect(await read('log', { from: 3 })).toBe('cccdddd')
      expect(await read('log', { from: 5, to: 8 })).toBe('cdd')
      expect(await read('log', { to: 4 })).toBe('c')
      expect(await read('log', { to: 3 })).toBe('')
      expect(await read('log', { from: 10, to: 99 })).toBe('')
      expect(await read('log', { index: 2 })).toBe('ccc')
      expect(await read('log', { index: 3 })).toBe('dddd')
      expect((await store().readMany(['log'])).values.map(text)).toEqual(['cccdddd'])
      expect(await refusal(read('log', { index: 4 }))).toMatchObject({ code: 'ENOENT' })
      expect(await refusal(read('log', { from: 5, to: 4 }))).toMatchObject({ code: 'EINVAL' })
      const base = { count: 2, size: 3 }
      for (const below of [{ index: 0 }, { index: 1 }, { from: 0 }, { from: 2 }, { to: 2 }]) {
        expect(await refusal(read('log', below))).toMatchObject({
          code: 'ECOMPACTED',
          failed: { state: { base } },
        })
      }
    })

    it('stat, list and treeobj tell the base; a listing the bytes that are left', async () => {
      await letters('d/log', 'a bb ccc')
      const before = await store().stat('d/log')
      expect(before).not.toHaveProperty('base')
      await trim('d/log', { before: 2 })
      const base = { count: 2, size: 3 }
      const stat = await store().stat('d/log')
      expect(stat).toMatchObject({ type: 'valref', count: 3, size: 6, base, sealed: false })
      expect(stat?.ref).not.toBe(before?.ref)
      expect((await store().list('d')).entries).toEqual([
        { name: 'log', type: 'valref', count: 3, size: 3 },
      ])
      expect(await store().stat('d')).toMatchObject({ count: 1, size: 3 })
      expect(await store().treeobj('d/log')).toMatchObject({
        type: 'valref',
        count: 3,
        size: 6,
        base,
        sizes: [3],
      })
    })

    it('what drops nothing more changes nothing; a base never goes back', async () => {
      await letters('log', 'a bb ccc')
      await trim('log', { before: 2 })
      const ref = (await store().stat('log'))?.ref
      for (const to of [{ before: 0 }, { before: 2 }, { keep: 9 }, { keepBytes: 99 }]) {
        expect(await trim('log', to)).toEqual({ base: { count: 2, size: 3 }, count: 3 })
      }
      expect((await store().stat('log'))?.ref).toBe(ref)
      expect(await trim('log', { olderThan: 3_600_000 })).toMatchObject({ base: { count: 2 } })
      await letters('whole', 'a b')
      expect(await trim('whole', { keep: 2 })).toEqual({ base: { count: 0, size: 0 }, count: 2 })
      expect(await store().stat('whole')).not.toHaveProperty('base')
    })

    it('refuses what is not there to be dropped', async () => {
      await letters('log', 'a bb ccc')
      await trim('log', { before: 1 })
      expect(await refusal(trim('log', { before: 4 }))).toMatchObject({
        code: 'EINVAL',
        failed: { op: 0, state: { count: 3, base: { count: 1, size: 1 } } },
      })
      const wrong = [{ before: -1 }, { keep: 1.5 }, { keepBytes: -1 }, { olderThan: -1 }]
      for (const to of wrong) {
        expect(await refusal(trim('log', to))).toMatchObject({ code: 'EINVAL' })
      }
      expect(await refusal(trim('nothing', { keep: 1 }))).toMatchObject({ code: 'ENOENT' })
      expect(await refusal(trim('log/below', { keep: 1 }))).toMatchObject({ code: 'ENOENT' })
      await store().commit({ ops: [{ op: 'mkdir', key: 'dir' }] })
      expect(await refusal(trim('dir', { keep: 1 }))).toMatchObject({ code: 'EISDIR' })
      expect(await refusal(trim('', { keep: 1 }))).toMatchObject({ code: 'EISDIR' })
    })

    it('on a value: becomes a log of one blob if that goes, and stays a value otherwise', async () => {
      await store().put('v', 'hello')
      for (const to of [{ before: 0 }, { keep: 1 }, { keepBytes: 1 }]) {
        expect(await trim('v', to)).toEqual({ base: { count: 0, size: 0 }, count: 1 })
      }
      expect(await store().stat('v')).toMatchObject({ type: 'val' })
      expect(await trim('v', { keep: 0 })).toEqual({ base: { count: 1, size: 5 }, count: 1 })
      expect(await store().stat('v')).toMatchObject({ type: 'valref', count: 1, size: 5 })
      expect(text(await store().get('v'))).toBe('')
      expect((await store().append('v', 'x')).result).toMatchObject({ index: 1, count: 2 })
      expect(text(await store().get('v'))).toBe('x')
      await store().put('v', 'anew')
      expect(await store().stat('v')).not.toHaveProperty('base')
      expect(text(await store().get('v'))).toBe('anew')
    })

    it('on a sealed log, through links, and with appends of the same transaction', async () => {
      await letters('log', 'a bb')
      await store().commit({
        ops: [
          { op: 'seal', key: 'log' },
          { op: 'symlink', key: 'link', target: 'log' },
        ],
      })
      expect(await trim('link', { before: 1 })).toMatchObject({ base: { count: 1, size: 1 } })
      expect(await store().stat('log')).toMatchObject({ sealed: true, base: { count: 1, size: 1 } })
      expect(await store().stat('link', { nofollow: true })).toMatchObject({ type: 'symlink' })
      const { results } = await store().commit({
        ops: [
          { op: 'append', key: 'new', value: 'x' },
          { op: 'append', key: 'new', value: 'yy' },
          { op: 'trim', key: 'new', keep: 1 },
          { op: 'append', key: 'new', value: 'zzz' },
          { op: 'seal', key: 'new' },
        ],
      })
      expect(results).toMatchObject([
        { index: 0, count: 1 },
        { index: 1, count: 2 },
        { base: { count: 1, size: 1 }, count: 2 },
        { index: 2, count: 3 },
        { count: 3 },
      ])
      const base = { count: 1, size: 1 }
      expect(await store().stat('new')).toMatchObject({ count: 3, size: 6, base, sealed: true })
      expect(text(await store().get('new'))).toBe('yyzzz')
    })

    it('an older root has what was there then', async () => {
      await letters('log', 'a b c')
      const { seq } = await store().root()
      await trim('log', { keep: 1 })
      expect(text(await store().get('log', { at: seq }))).toBe('abc')
      expect(await store().stat('log', { at: seq })).not.toHaveProperty('base')
      expect(text(await store().get('log'))).toBe('c')
    })

    it('a guard sees the count as it was, and a trim another ref', async () => {
      await letters('log', 'a b c')
      const ref = (await store().stat('log'))?.ref ?? ''
      await trim('log', { keep: 1 })
      const guarded = (guard: { count: number } | { ref: string }) =>
        store().commit({ guards: [{ key: 'log', ...guard }], ops: [] })
      await guarded({ count: 3 })
      expect(await refusal(guarded({ ref }))).toMatchObject({ code: 'ECONFLICT' })
    })

    it('a long log streams what is left of it', async () => {
      const piece = (n: number) => Buffer.alloc(blobSizeMax, n)
      for (let n = 0; n < 4; n++) await store().append('long', piece(n))
      await trim('long', { keepBytes: 2 * blobSizeMax })
      const reading = await store().read('long')
      const chunks: Uint8Array[] = []
      for await (const chunk of reading?.chunks ?? []) chunks.push(chunk)
      const whole = Buffer.concat(chunks)
      expect(whole.equals(Buffer.concat([piece(2), piece(3)]))).toBe(true)
      expect(reading?.stat).toMatchObject({ size: 4 * blobSizeMax, base: { count: 2 } })
    })
  })

  describe('watch of a trimmed log', () => {
    it('begins at the base where no start is named, and where it counts from the end', async () => {
      await letters('log', 'a bb ccc')
      await trim('log', { before: 1 })
      expect(await watched('log', undefined)).toEqual(['1@1 bb', '2@3 ccc', 'live 3'])
      expect(await watched('log', 1)).toEqual(['1@1 bb', '2@3 ccc', 'live 3'])
      expect(await watched('log', -2)).toEqual(['1@1 bb', '2@3 ccc', 'live 3'])
      expect(await watched('log', -9)).toEqual(['1@1 bb', '2@3 ccc', 'live 3'])
      expect(await watched('log', { offset: 1 })).toEqual(['1@1 bb', '2@3 ccc', 'live 3'])
      expect(await watched('log', { offset: 4 })).toEqual(['2@3 ccc', 'live 3'])
      await trim('log', { keep: 0 })
      expect(await watched('log', undefined)).toEqual(['live 3'])
      expect(await watched('log', -1)).toEqual(['live 3'])
      expect(await watched('log', { offset: 6 })).toEqual(['live 3'])
    })

    it('below the base is ECOMPACTED, with the oldest position, from which one goes on', async () => {
      await letters('log', 'a bb ccc')
      const position = await positionAfter('log', 1)
      await trim('log', { before: 2 })
      for (const from of [0, 1, { offset: 0 }, { offset: 2 }, position]) {
        const refused = await refusal(watched('log', from))
        expect(refused).toMatchObject({
          code: 'ECOMPACTED',
          message: expect.stringContaining('index 2'),
          failed: { state: { base: { count: 2, size: 3 }, position: { index: 2 } } },
        })
        const { position: oldest } = (refused.failed?.state ?? {}) as { position?: From }
        expect(await watched('log', oldest)).toEqual(['2@3 ccc', 'live 3'])
      }
      await store().put('log', 'other')
      await store().append('log', 'x')
      await store().append('log', 'y')
      expect(await refusal(watched('log', position))).toMatchObject({ code: 'EOVERWRITTEN' })
    })

    it('a position at or above the base proves what came before, trimmed or not', async () => {
      await letters('log', 'a bb ccc')
      const [second, third] = [await positionAfter('log', 2), await positionAfter('log', 3)]
      await trim('log', { before: 2 })
      expect(await watched('log', second)).toEqual(['2@3 ccc', 'live 3'])
      expect(await watched('log', third)).toEqual(['live 3'])
      expect(await positionAfter('log', 3)).toEqual(third)
      await store().put('log', 'x')
      for (const value of ['yy', 'ccc']) await store().append('log', value)
      await trim('log', { before: 2 })
      for (const from of [second, third]) {
        expect(await refusal(watched('log', from))).toMatchObject({ code: 'EOVERWRITTEN' })
      }
    })

    it('who has passed the base notices nothing, and gets what is appended with the trim', async () => {
      await letters('log', 'a bb')
      const watching = store().watch('log', { mode: 'append' })
      try {
        expect(await shown(watching, 3)).toEqual(['0@0 a', '1@1 bb', 'live 2'])
        await store().commit({
          ops: [
            { op: 'trim', key: 'log', keep: 0 },
            { op: 'append', key: 'log', value: 'ccc' },
          ],
        })
        expect(await shown(watching, 1)).toEqual(['2@3 ccc'])
        await trim('log', { keep: 0 })
        await store().append('log', 'd', { seal: true })
        expect(await shown(watching, 2)).toEqual(['3@6 d', 'end 4'])
      } finally {
        await watching.return?.()
      }
    })

    it('a value watcher gets what is left', async () => {
      await letters('log', 'a bb ccc')
      const watching = store().watch('log', { mode: 'value' })
      try {
        const values: unknown[] = []
        for (const to of [1, 2]) {
          const { value } = await watching.next()
          if (value?.type === 'value') values.push([value.size, text(value.data)])
          await trim('log', { before: to })
        }
        expect(values).toEqual([
          [6, 'abbccc'],
          [5, 'bbccc'],
        ])
      } finally {
        await watching.return?.()
      }
    })
  })

  async function letters(key: string, words: string): Promise<void> {
    for (const value of words.split(' ')) await store().append(key, value)
  }

  async function trim(key: string, to: TrimTo): Promise<OpResult | undefined> {
    return (await store().commit({ ops: [{ op: 'trim', key, ...to }] })).results[0]
  }

  async function read(key: string, options: ReadOptions): Promise<string> {
    const chunks: Uint8Array[] = []
    for await (const chunk of (await store().read(key, options))?.chunks ?? []) chunks.push(chunk)
    return Buffer.concat(chunks).toString()
  }

  /** All up to `live`. */
  async function watched(key: string, from: From | undefined): Promise<string[]> {
    const lines: string[] = []
    const start = from === undefined ? {} : { from }
    for await (const event of store().watch(key, { mode: 'append', ...start })) {
      lines.push(show(event))
      if (event.type === 'live') break
    }
    return lines
  }

  async function positionAfter(key: string, count: number): Promise<From> {
    for await (const event of store().watch(key, { mode: 'append' })) {
      if (event.type === 'append' && event.position.index === count) return event.position
    }
    throw new Error(`${key} has no ${count} blobs`)
  }
}

async function shown(watching: AsyncIterator<WatchEvent>, count: number): Promise<string[]> {
  const lines: string[] = []
  while (lines.length < count) {
    const next = await watching.next()
    if (next.done) return [...lines, 'done']
    lines.push(show(next.value))
  }
  return lines
}

function show(event: WatchEvent): string {
  switch (event.type) {
    case 'append':
      return `${event.index}@${event.offset} ${text(event.data)}`
    case 'value':
      return `value ${event.size}`
    case 'live':
    case 'end':
      return `${event.type} ${event.position?.index}`
    default:
      return event.type
  }
}
