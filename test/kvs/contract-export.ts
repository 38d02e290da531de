/** Export and import through the public interface, on every store. See rfc/15. */

import { describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { refusal, text } from './expect.js'

export function exportContract(kvsOf: () => Kvs): void {
  describe('export and import', () => {
    it('a namespace comes out and goes in under another name: same tree, same bytes', async () => {
      const kvs = kvsOf()
      await fill(kvs)
      const stream = await joined(kvs.upkeep.export())
      const imported = await kvs.upkeep.import(oneByOne(stream, 1_000), { namespace: 'copy' })
      const [from, to] = [await kvs.stat('/'), await kvs.stat('/', { namespace: 'copy' })]
      expect(to?.ref).toBe(from?.ref)
      expect(imported).toMatchObject({ namespace: 'copy', keys: to?.count, size: to?.size })
      // All of it was in the store.
      expect(imported.stored).toEqual({ count: 0, size: 0 })
      expect(imported.read.count).toBeGreaterThan(5)
      expect(await kvs.root({ namespace: 'copy' })).toMatchObject({
        seq: imported.seq,
        ref: imported.ref,
      })
      expect(await kvs.list('/', { namespace: 'copy', recursive: true })).toMatchObject({
        entries: (await kvs.list('/', { recursive: true })).entries,
      })
      const [big, copied] = [
        await kvs.get('dir/big'),
        await kvs.get('dir/big', { namespace: 'copy' }),
      ]
      expect(big && copied && Buffer.compare(big, copied)).toBe(0)
      expect(text(await kvs.get('dir/log', { namespace: 'copy' }))).toBe('abc')
      expect(await kvs.stat('dir/log', { namespace: 'copy' })).toMatchObject({ sealed: true })
      expect(text(await kvs.get('link', { namespace: 'copy' }))).toBe('v')
    })

    it('an empty namespace, too', async () => {
      const kvs = kvsOf()
      const imported = await kvs.upkeep.import(kvs.upkeep.export(), { namespace: 'copy' })
      expect(imported).toMatchObject({ keys: 0, size: 0, read: { count: 0, size: 0 } })
      expect(await kvs.stat('/', { namespace: 'copy' })).toMatchObject({ count: 0 })
    })

    it('`at` exports an older root; `since` what came after another', async () => {
      const kvs = kvsOf()
      await fill(kvs)
      const older = await kvs.root()
      await kvs.put('dir/new', 'x'.repeat(1_000))
      await kvs.commit({ ops: [{ op: 'unlink', key: 'val' }] })
      for (const at of [older.seq, older.ref]) {
        const stream = await joined(kvs.upkeep.export({ at }))
        await kvs.upkeep.import(chunksOf(stream), { namespace: 'copy', replace: true })
        expect((await kvs.stat('/', { namespace: 'copy' }))?.ref).toBe(
          (await kvs.stat('/', { at }))?.ref,
        )
      }
      const difference = await joined(kvs.upkeep.export({ since: older.seq }))
      // The new value, and the directories above what changed.
      expect(difference.length).toBeLessThan(3_000)
      const { read } = await kvs.upkeep.import(chunksOf(difference), { namespace: 'copy' })
      expect(read.count).toBeLessThan(5)
      expect((await kvs.stat('/', { namespace: 'copy' }))?.ref).toBe((await kvs.stat('/'))?.ref)
    })

    it('a difference wants just its base: ECONFLICT with both refs', async () => {
      const kvs = kvsOf()
      await kvs.put('a', '1')
      const { seq } = await kvs.root()
      await kvs.put('a', '2')
      const difference = await joined(kvs.upkeep.export({ since: seq }))
      const base = (await kvs.stat('/', { at: seq }))?.ref
      await kvs.namespaces.create('copy')
      await kvs.put('b', '1', { namespace: 'copy' })
      const error = await refusal(kvs.upkeep.import(chunksOf(difference), { namespace: 'copy' }))
      const ref = (await kvs.stat('/', { namespace: 'copy' }))?.ref
      expect(error).toMatchObject({ code: 'ECONFLICT', failed: { state: { base, ref } } })
      // `replace` says what may go, not what the difference is to.
      const replacing = kvs.upkeep.import(chunksOf(difference), {
        namespace: 'copy',
        replace: true,
      })
      expect(await refusal(replacing)).toMatchObject({ code: 'ECONFLICT' })
      const missing = kvs.upkeep.import(chunksOf(difference), { namespace: 'missing' })
      expect(await refusal(missing)).toMatchObject({ code: 'ECONFLICT' })
      expect((await kvs.namespaces.list()).map(({ name }) => name)).not.toContain('missing')
      // Imported twice: the second time the base has gone.
      const into = { namespace: 'other' }
      await kvs.upkeep.import(kvs.upkeep.export({ at: seq }), into)
      await kvs.upkeep.import(chunksOf(difference), into)
      expect(text(await kvs.get('a', into))).toBe('2')
      expect(await refusal(kvs.upkeep.import(chunksOf(difference), into))).toMatchObject({
        code: 'ECONFLICT',
      })
    })

    it('keys that are there are kept (ENOTEMPTY), unless it replaces them, in one commit', async () => {
      const kvs = kvsOf()
      await kvs.put('k', 'exported')
      const stream = await joined(kvs.upkeep.export())
      const into = { namespace: 'copy' }
      await kvs.namespaces.create('copy')
      await kvs.put('old', 'x', into)
      const { seq } = await kvs.root(into)
      expect(await refusal(kvs.upkeep.import(chunksOf(stream), into))).toMatchObject({
        code: 'ENOTEMPTY',
      })
      expect((await kvs.root(into)).seq).toBe(seq)
      const imported = await kvs.upkeep.import(chunksOf(stream), { ...into, replace: true })
      expect(imported.seq).toBe(seq + 1)
      expect(await kvs.get('old', into)).toBeUndefined()
      expect(text(await kvs.get('k', into))).toBe('exported')
      expect(text(await kvs.get('old', { ...into, at: seq }))).toBe('x')
    })

    it('watchers of what it replaces see an overwrite, then the new value', async () => {
      const kvs = kvsOf()
      await kvs.append('log', 'new')
      await kvs.put('value', 'new')
      const stream = await joined(kvs.upkeep.export())
      const into = { namespace: 'copy' }
      await kvs.namespaces.create('copy')
      await kvs.append('log', 'old', into)
      await kvs.append('gone', 'old', into)
      await kvs.put('value', 'old', into)
      const log = kvs.watch('log', { ...into, mode: 'append' })
      const gone = kvs.watch('gone', { ...into, mode: 'append' })
      const value = kvs.watch('value', { ...into, mode: 'value' })
      expect(await log.next()).toMatchObject({ value: { type: 'append', index: 0 } })
      expect(await log.next()).toMatchObject({ value: { type: 'live' } })
      expect(await gone.next()).toMatchObject({ value: { type: 'append' } })
      expect(await gone.next()).toMatchObject({ value: { type: 'live' } })
      expect(await value.next()).toMatchObject({ value: { type: 'value' } })
      const { seq } = await kvs.upkeep.import(chunksOf(stream), { ...into, replace: true })
      expect(await refusal(log.next())).toMatchObject({ code: 'EOVERWRITTEN' })
      expect(await refusal(gone.next())).toMatchObject({ code: 'ENOENT' })
      const { value: event } = await value.next()
      expect(event).toMatchObject({ type: 'value', seq })
      await value.return?.()
    })

    it('a damaged, cut or prolonged stream imports nothing, and says where', async () => {
      const kvs = kvsOf()
      await fill(kvs)
      const stream = await joined(kvs.upkeep.export())
      const flipped = Buffer.from(stream)
      const middle = stream.length >> 1
      flipped[middle] = (flipped[middle] ?? 0) ^ 1
      const wrong = [
        flipped,
        stream.subarray(0, middle),
        stream.subarray(0, -1),
        Buffer.concat([stream, Buffer.of(0)]),
        Buffer.concat([stream, stream]),
        Buffer.alloc(0),
        Buffer.from('{"no": "export"}'),
      ]
      for (const bytes of wrong) {
        const error = await refusal(kvs.upkeep.import(chunksOf(bytes), { namespace: 'copy' }))
        expect(error).toMatchObject({ code: 'EINVAL' })
        expect(error.message).toMatch(/byte \d+/)
      }
      expect((await kvs.namespaces.list()).map(({ name }) => name)).not.toContain('copy')
      const newer = Buffer.from(stream)
      newer[8] = 99
      expect(
        await refusal(kvs.upkeep.import(chunksOf(newer), { namespace: 'copy' })),
      ).toMatchObject({
        code: 'EINVAL',
      })
    })

    it('a source that fails imports nothing', async () => {
      const kvs = kvsOf()
      await fill(kvs)
      const stream = await joined(kvs.upkeep.export())
      const broken = (async function* () {
        yield stream.subarray(0, stream.length >> 1)
        throw new Error('the source broke')
      })()
      await expect(kvs.upkeep.import(broken, { namespace: 'copy' })).rejects.toThrow()
      expect((await kvs.namespaces.list()).map(({ name }) => name)).not.toContain('copy')
    })

    it('refuses a namespace that is not there, a root that is not there, one from the future', async () => {
      const kvs = kvsOf()
      await kvs.put('k', 'v')
      expect(await refusal(joined(kvs.upkeep.export({ namespace: 'none' })))).toMatchObject({
        code: 'ENONS',
      })
      expect(await refusal(joined(kvs.upkeep.export({ at: 99 })))).toMatchObject({ code: 'EINVAL' })
      expect(await refusal(joined(kvs.upkeep.export({ at: 0, since: 1 })))).toMatchObject({
        code: 'EINVAL',
      })
      const unknown = `blake3-${'0'.repeat(64)}`
      expect(await refusal(joined(kvs.upkeep.export({ at: unknown })))).toMatchObject({
        code: 'ECOMPACTED',
      })
    })
  })
}

async function fill(kvs: Kvs): Promise<void> {
  await kvs.put('val', 'v')
  await kvs.put('dir/big', Buffer.alloc(2 * blobSizeMax + 7, 'big'), { contentType: 'text/plain' })
  await kvs.append('dir/log', 'a')
  await kvs.append('dir/log', 'b')
  await kvs.append('dir/log', 'c', { seal: true })
  await kvs.commit({
    ops: [
      { op: 'mkdir', key: 'dir/empty' },
      { op: 'symlink', key: 'link', target: 'val' },
    ],
  })
}

export async function joined(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all)
}

export async function* chunksOf(bytes: Uint8Array, size = 65_536): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

/** The head in single bytes, the rest in chunks: whatever the cut, it is one stream. */
async function* oneByOne(bytes: Uint8Array, head: number): AsyncGenerator<Uint8Array> {
  yield* chunksOf(bytes.subarray(0, head), 1)
  yield* chunksOf(bytes.subarray(head))
}
