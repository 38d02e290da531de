/** The contract of `Kvs.watch`: run by the embedded store on every engine, and by the client over a
 *  server. See rfc/7. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import type { WatchEvent, Watching, WatchOptions } from '../../src/api/watch.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import type { Made } from '../kvs/contract.js'
import { refusal } from '../kvs/expect.js'

export function watchContract(name: string, make: () => Promise<Made>): void {
  describe(`watch: ${name}`, () => {
    let made: Made
    let kvs: Kvs
    const open: Watching[] = []
    const watch = (key: string, options: Partial<WatchOptions> = {}): Watching => {
      const watching = kvs.watch(key, { mode: 'append', ...options })
      open.push(watching)
      return watching
    }
    beforeEach(async () => {
      made = await make()
      kvs = made.kvs
    })
    afterEach(async () => {
      for (const watching of open.splice(0)) await watching.return?.()
      await made.close()
    })

    describe('append', () => {
      it('tells who comes late of a root that is there still', async () => {
        await kvs.namespaces.configure('primary', { historyCount: 1, historyAgeMs: 0 })
        await kvs.append('k', 'a')
        expect(await shown(watch('k'), 1)).toEqual(['0@0 a'])
        await kvs.put('other', '1')
        const { seq } = await kvs.put('other', '2')
        for (const from of [undefined, -1]) {
          const [event] = await take(watch('k', { ...(from && { from }) }), 1)
          if (event?.type !== 'append') throw new Error('an append')
          expect(event.seq).toBeGreaterThanOrEqual(seq)
          expect(String(await kvs.get('k', { at: event.seq }))).toBe('a')
        }
      })

      it('delivers what is there, says live, then each append once, in order', async () => {
        await kvs.append('k', 'a')
        await kvs.append('k', 'bc')
        const watching = watch('k')
        expect(await shown(watching, 3)).toEqual(['0@0 a', '1@1 bc', 'live 2'])
        await kvs.append('k', '')
        await kvs.append('k', 'd')
        expect(await shown(watching, 2)).toEqual(['2@3 ', '3@3 d'])
      })

      it('lends the bytes of an event until the next one is asked for, and other watches keep theirs', async () => {
        const sizes = [
          1,
          70_000,
          blobSizeMax,
          70_001,
          300,
          blobSizeMax,
          65_536,
          blobSizeMax,
          100_000,
        ]
        const written = sizes.map((size, index) => Buffer.alloc(size, index + 1))
        for (const value of written) await kvs.append('k', value)
        await kvs.commit({ ops: [{ op: 'seal', key: 'k' }] })
        const kept: Uint8Array[] = []
        const keeping = watch('k')
        let met = 0
        for await (const event of watch('k', { lend: true })) {
          if (event.type !== 'append') continue
          expect(Buffer.compare(event.data, written[event.index] ?? Buffer.alloc(0))).toBe(0)
          met++
          const { value } = await keeping.next()
          if (value?.type === 'append') kept.push(value.data)
        }
        expect(met).toBe(sizes.length)
        for await (const event of keeping) if (event.type === 'append') kept.push(event.data)
        expect(Buffer.concat(kept).equals(Buffer.concat(written))).toBe(true)
      })

      it('a multi-append transaction is one response per append, all of one seq', async () => {
        const watching = watch('k', { waitCreate: true })
        await take(watching, 1)
        await kvs.commit({
          ops: ['a', 'b', 'c'].map((value) => ({ op: 'append', key: 'k', value }) as const),
        })
        const events = [await watching.next(), await watching.next(), await watching.next()]
        const values = events.map((event) => event.value as WatchEvent)
        expect(values.map(show)).toEqual(['0@0 a', '1@1 b', '2@2 c'])
        expect(values.map((value) => (value.type === 'append' ? value.seq : -1))).toEqual([1, 1, 1])
      })

      it('an append above the blob limit is several responses, all but the last marked more', async () => {
        await kvs.append('k', Buffer.alloc(2 * blobSizeMax + 1, 7))
        await kvs.append('k', Buffer.alloc(blobSizeMax, 8))
        const events = await take(watch('k'), 4)
        expect(events.map((event) => event.type === 'append' && event.more)).toEqual([
          true,
          true,
          undefined,
          undefined,
        ])
      })

      it('a key that is not there is ENOENT, a directory EISDIR, a namespace ENONS', async () => {
        await kvs.put('d/k', 'x')
        expect(await refusal(watch('none').next())).toMatchObject({ code: 'ENOENT' })
        expect(await refusal(watch('d').next())).toMatchObject({ code: 'EISDIR' })
        expect(await refusal(watch('d/k/below').next())).toMatchObject({ code: 'ENOENT' })
        const nowhere = watch('k', { namespace: 'none' }).next()
        expect(await refusal(nowhere)).toMatchObject({ code: 'ENONS' })
      })

      it('waitCreate waits for the key, its directories and its namespace', async () => {
        const watching = watch('a/b/k', { waitCreate: true, namespace: 'later' })
        // Live at once: who writes may wait for that.
        expect((await watching.next()).value).toEqual({ type: 'live' })
        await kvs.namespaces.create('later')
        await kvs.put('a/other', 'x', { namespace: 'later' })
        await kvs.append('a/b/k', 'here', { namespace: 'later' })
        expect(await shown(watching, 1)).toEqual(['0@0 here'])
        await kvs.append('a/b/k', 'more', { namespace: 'later', seal: true })
        expect(await shown(watching, 2)).toEqual(['1@4 more', 'end sealed 2'])
        // What is there is delivered first.
        const late = watch('a/b/k', { waitCreate: true, namespace: 'later' })
        expect(await shown(late, 3)).toEqual(['0@0 here', '1@4 more', 'live 2'])
      })

      it('waitCreate from the end of what is not there gives all that comes', async () => {
        const watching = watch('none', { waitCreate: true, from: -1 })
        expect((await watching.next()).value).toEqual({ type: 'live' })
        await kvs.commit({
          ops: ['a', 'b'].map((value) => ({ op: 'append', key: 'none', value })),
        })
        expect(await shown(watching, 2)).toEqual(['0@0 a', '1@1 b'])
      })

      it('starts from any index, from the end, from a byte offset, or from later', async () => {
        for (const value of ['aa', 'bb', 'cc']) await kvs.append('k', value)
        expect(await shown(watch('k', { from: 2 }), 2)).toEqual(['2@4 cc', 'live 3'])
        expect(await shown(watch('k', { from: -2 }), 2)).toEqual(['1@2 bb', '2@4 cc'])
        expect(await shown(watch('k', { from: -9 }), 1)).toEqual(['0@0 aa'])
        expect(await shown(watch('k', { from: { offset: 3 } }), 1)).toEqual(['1@2 bb'])
        expect(await shown(watch('k', { from: { offset: 99 } }), 1)).toEqual(['live 3'])
        const later = watch('k', { from: 4 })
        expect(await shown(later, 1)).toEqual(['live 3'])
        await kvs.append('k', 'dd')
        await kvs.append('k', 'ee')
        expect(await shown(later, 1)).toEqual(['4@8 ee'])
      })

      it('an inline value is blob 0, and appends extend it', async () => {
        await kvs.put('k', 'v')
        const watching = watch('k')
        expect(await shown(watching, 2)).toEqual(['0@0 v', 'live 1'])
        await kvs.append('k', 'w')
        expect(await shown(watching, 1)).toEqual(['1@1 w'])
      })

      it('ends when the key is sealed, with the last append or alone', async () => {
        const one = watch('one', { waitCreate: true })
        expect((await one.next()).value).toEqual({ type: 'live' })
        await kvs.append('one', 'all', { seal: true })
        expect(await shown(one, 2)).toEqual(['0@0 all', 'end sealed 1'])
        expect((await one.next()).done).toBe(true)
        await kvs.append('two', 'x')
        const two = watch('two')
        expect(await shown(two, 2)).toEqual(['0@0 x', 'live 1'])
        await kvs.commit({ ops: [{ op: 'seal', key: 'two' }] })
        expect(await shown(two, 1)).toEqual(['end sealed 1'])
        expect(await shown(watch('two'), 3)).toEqual(['0@0 x', 'live 1', 'end sealed 1'])
      })

      it('ends at the seal, whatever came after it', async () => {
        await kvs.append('k', 'a')
        const watching = watch('k')
        expect(await shown(watching, 2)).toEqual(['0@0 a', 'live 1'])
        await kvs.append('k', 'b', { seal: true })
        await kvs.put('k', 'new')
        expect(await shown(watching, 2)).toEqual(['1@1 b', 'end sealed 2'])
      })

      it('a put of the bytes of the only append is another value', async () => {
        await kvs.append('k', 'a')
        const watching = watch('k')
        expect(await shown(watching, 2)).toEqual(['0@0 a', 'live 1'])
        const next = refusal(watching.next())
        await kvs.put('k', 'a')
        expect(await next).toMatchObject({ code: 'EOVERWRITTEN' })
      })

      const overwrites: [string, (kvs: Kvs) => Promise<unknown>, string][] = [
        ['a put of another value', (on) => on.put('k', 'new'), 'EOVERWRITTEN'],
        ['a put of the same bytes', (on) => on.put('k', 'ab'), 'EOVERWRITTEN'],
        ['a put of the first blob alone', (on) => on.put('k', 'a'), 'EOVERWRITTEN'],
        [
          'a put of a larger value',
          (on) => on.put('k', Buffer.alloc(3 * blobSizeMax)),
          'EOVERWRITTEN',
        ],
        ['an unlink', (on) => on.commit({ ops: [{ op: 'unlink', key: 'k' }] }), 'ENOENT'],
        [
          'a directory in its place',
          (on) =>
            on.commit({
              ops: [
                { op: 'unlink', key: 'k' },
                { op: 'put', key: 'k/below', value: '' },
              ],
            }),
          'EISDIR',
        ],
        [
          'as many blobs of another history',
          (on) =>
            on.commit({
              ops: [
                { op: 'unlink', key: 'k' },
                ...['x', 'y', 'z'].map((value) => ({ op: 'append', key: 'k', value }) as const),
              ],
            }),
          'EOVERWRITTEN',
        ],
        [
          'a link in its place',
          (on) =>
            on.commit({
              ops: [
                { op: 'put', key: 'other', value: 'ab' },
                { op: 'symlink', key: 'k', target: 'other' },
              ],
            }),
          'EOVERWRITTEN',
        ],
      ]
      it.each(overwrites)(
        '%s is an error, after all that was appended before',
        async (_, act, code) => {
          for (const value of ['a', 'b']) await kvs.append('k', value)
          const live = watch('k')
          expect(await shown(live, 3)).toEqual(['0@0 a', '1@1 b', 'live 2'])
          const behind = watch('k')
          expect(await shown(behind, 1)).toEqual(['0@0 a'])
          const next = refusal(live.next())
          await act(kvs)
          expect(await next).toMatchObject({ code })
          expect(await shown(behind, 2)).toEqual(['1@1 b', 'live 2'])
          expect(await refusal(behind.next())).toMatchObject({ code })
          expect((await behind.next()).done).toBe(true)
        },
      )

      it('a directory above the key that goes takes the key with it', async () => {
        await kvs.append('a/b/k', 'x')
        const watching = watch('a/b/k')
        expect(await shown(watching, 2)).toEqual(['0@0 x', 'live 1'])
        const next = refusal(watching.next())
        await kvs.commit({ ops: [{ op: 'unlink', key: 'a', recursive: true }] })
        expect(await next).toMatchObject({ code: 'ENOENT' })
      })

      it('follows links, in the middle and at the end, and says when one is turned', async () => {
        await kvs.append('real/log', 'a')
        // Not even a log that begins as the followed one may go on in its place.
        for (const value of ['a', 'b', 'z']) await kvs.append('else/log', value)
        await kvs.commit({
          ops: [
            { op: 'symlink', key: 'dir', target: 'real' },
            { op: 'symlink', key: 'last', target: 'dir/log' },
          ],
        })
        const watching = watch('last')
        expect(await shown(watching, 2)).toEqual(['0@0 a', 'live 1'])
        await kvs.append('real/log', 'b')
        expect(await shown(watching, 1)).toEqual(['1@1 b'])
        const next = refusal(watching.next())
        await kvs.commit({ ops: [{ op: 'symlink', key: 'dir', target: 'else' }] })
        expect(await next).toMatchObject({ code: 'EOVERWRITTEN' })
      })

      it('a link into another namespace is followed there', async () => {
        await kvs.namespaces.create('other')
        await kvs.commit({
          ops: [{ op: 'symlink', key: 'far', target: 'log', namespace: 'other' }],
        })
        const watching = watch('far', { waitCreate: true })
        expect(await shown(watching, 1)).toEqual(['live nowhere'])
        await kvs.append('log', 'a', { namespace: 'other' })
        expect(await shown(watching, 1)).toEqual(['0@0 a'])
        await kvs.append('log', 'b', { namespace: 'other' })
        expect(await shown(watching, 1)).toEqual(['1@1 b'])
      })

      it('resumes from a position: no gap, no repeat, and never on another history', async () => {
        for (const value of ['a', 'b', 'c', 'd']) await kvs.append('k', value)
        const events = await take(watch('k'), 4)
        for (const event of events) {
          if (event.type !== 'append') throw new Error('appends come first')
          const rest = ['a', 'b', 'c', 'd'].slice(event.index + 1)
          const resumed = await shown(watch('k', { from: event.position }), rest.length + 1)
          expect(resumed).toEqual([
            ...rest.map((value, at) => `${event.index + 1 + at}@${event.index + 1 + at} ${value}`),
            'live 4',
          ])
        }
        const [first, second] = events
        if (first?.type !== 'append' || second?.type !== 'append') throw new Error('appends')
        await kvs.commit({
          ops: [
            { op: 'unlink', key: 'k' },
            ...['a', 'x', 'c', 'd', 'e'].map(
              (value) => ({ op: 'append', key: 'k', value }) as const,
            ),
          ],
        })
        // The first blob is the same one: what was delivered is a prefix of what is there.
        expect(await shown(watch('k', { from: first.position }), 1)).toEqual(['1@1 x'])
        const replaced = watch('k', { from: second.position, waitCreate: true }).next()
        expect(await refusal(replaced)).toMatchObject({ code: 'EOVERWRITTEN' })
        await kvs.commit({ ops: [{ op: 'unlink', key: 'k' }] })
        const removed = watch('k', { from: first.position, waitCreate: true }).next()
        expect(await refusal(removed)).toMatchObject({ code: 'ENOENT' })
      })

      it('a position of another life of the namespace is EOVERWRITTEN', async () => {
        await kvs.namespaces.create('n')
        await kvs.append('k', 'a', { namespace: 'n' })
        const [event] = await take(watch('k', { namespace: 'n' }), 1)
        if (event?.type !== 'append') throw new Error('an append')
        await kvs.namespaces.remove('n')
        await kvs.namespaces.create('n')
        await kvs.append('k', 'a', { namespace: 'n' })
        const resumed = watch('k', { namespace: 'n', from: event.position }).next()
        expect(await refusal(resumed)).toMatchObject({ code: 'EOVERWRITTEN' })
      })

      it('a removed namespace ends its watches with ENONS, after what was committed', async () => {
        await kvs.namespaces.create('n')
        for (const value of ['a', 'b']) await kvs.append('k', value, { namespace: 'n' })
        const watching = watch('k', { namespace: 'n' })
        expect(await shown(watching, 1)).toEqual(['0@0 a'])
        await kvs.namespaces.remove('n')
        expect(await shown(watching, 2)).toEqual(['1@1 b', 'live 2'])
        expect(await refusal(watching.next())).toMatchObject({ code: 'ENONS' })
      })

      it('cancels in each state: waiting for the key, with events left, live', async () => {
        const waiting = watch('none', { waitCreate: true })
        await take(waiting, 1)
        const pending = waiting.next()
        await waiting.return?.()
        expect((await pending).done).toBe(true)
        for (const value of ['a', 'b']) await kvs.append('k', value)
        const left = watch('k')
        await take(left, 1)
        await left.return?.()
        expect((await left.next()).done).toBe(true)
        const controller = new AbortController()
        const live = watch('k', { signal: controller.signal })
        await take(live, 3)
        const next = refusal(live.next())
        controller.abort()
        expect(await next).toMatchObject({ code: 'ECANCELED' })
      })

      it('a bad from is EINVAL', async () => {
        await kvs.append('k', 'a')
        const bad = async () => watch('k', { from: 0.5 }).next()
        expect(await refusal(bad())).toMatchObject({ code: 'EINVAL' })
      })
    })

    describe('value', () => {
      it('delivers the value now, then at each later root that names it', async () => {
        await kvs.put('k', 'a')
        const watching = watch('k', { mode: 'value' })
        expect(await shown(watching, 1)).toEqual(['=1 a'])
        await kvs.put('other', 'x')
        await kvs.put('k', 'b')
        await kvs.put('k', 'b')
        await kvs.append('k', 'c')
        expect(await shown(watching, 3)).toEqual(['=3 b', '=4 b', '=5 bc'])
      })

      it('refuses what is of the other mode', async () => {
        await kvs.put('k', 'a')
        for (const options of [
          { mode: 'value', from: 0 },
          { mode: 'value', from: { offset: 0 } },
          { mode: 'append', uniq: true },
          { mode: 'append', lease: true },
          { mode: 'value', lend: true },
        ] as const) {
          await expect(shown(watch('k', options), 1)).rejects.toMatchObject({ code: 'EINVAL' })
        }
      })

      it('uniq drops repeats', async () => {
        await kvs.put('k', 'a')
        const watching = watch('k', { mode: 'value', uniq: true })
        expect(await shown(watching, 1)).toEqual(['=1 a'])
        await kvs.put('k', 'a')
        await kvs.put('k', 'b')
        expect(await shown(watching, 1)).toEqual(['=3 b'])
      })

      it('a watcher that was slow gets every value', async () => {
        await kvs.put('k', '0')
        const watching = watch('k', { mode: 'value' })
        expect(await shown(watching, 1)).toEqual(['=1 0'])
        for (let value = 1; value <= 100; value++) {
          await kvs.commit({ ops: [{ op: 'put', key: 'k', value: `${value}` }], noMerge: true })
        }
        const expected = Array.from({ length: 100 }, (_, at) => `=${at + 2} ${at + 1}`)
        expect(await shown(watching, 100)).toEqual(expected)
      })

      it('waits for the key, and ends with ENOENT or EISDIR when it goes', async () => {
        const watching = watch('a/k', { mode: 'value', waitCreate: true })
        const first = watching.next()
        await kvs.put('a/k', 'v')
        expect(show((await first).value as WatchEvent)).toBe('=1 v')
        const next = refusal(watching.next())
        await kvs.commit({ ops: [{ op: 'unlink', key: 'a', recursive: true }] })
        expect(await next).toMatchObject({ code: 'ENOENT' })
        const none = watch('none', { mode: 'value' }).next()
        expect(await refusal(none)).toMatchObject({ code: 'ENOENT' })
      })

      it('a value above one blob comes without its data, to be read at its seq', async () => {
        await kvs.put('k', Buffer.alloc(blobSizeMax + 1, 1))
        const [event] = await take(watch('k', { mode: 'value' }), 1)
        if (event?.type !== 'value') throw new Error('a value')
        expect(event).toMatchObject({ size: blobSizeMax + 1 })
        expect(event.data).toBeUndefined()
        await kvs.put('k', 'new')
        expect((await kvs.get('k', { at: event.seq }))?.length).toBe(event.size)
        await kvs.namespaces.configure('primary', { historyCount: 1, historyAgeMs: 0 })
        await kvs.upkeep.collect()
        expect((await kvs.get('k', { at: event.seq }))?.length).toBe(event.size)
      })
    })
  })
}

async function take(watching: Watching, count: number): Promise<WatchEvent[]> {
  const events: WatchEvent[] = []
  while (events.length < count) {
    const { done, value } = await watching.next()
    if (done) throw new Error(`the watch ended after ${events.length} of ${count} events`)
    events.push(value)
  }
  return events
}

async function shown(watching: Watching, count: number): Promise<string[]> {
  return (await take(watching, count)).map(show)
}

function show(event: WatchEvent): string {
  switch (event.type) {
    case 'append':
      return `${event.index}@${event.offset} ${Buffer.from(event.data)}`
    case 'value':
      return `=${event.seq} ${Buffer.from(event.data ?? [])}`
    case 'lease':
      return `lease ${event.held}`
    case 'changes':
      return `changes ${event.seq}`
    case 'live':
      return `live ${event.position?.index ?? 'nowhere'}`
    case 'end':
      return `end ${event.reason} ${event.position.index}`
    default:
      return event satisfies never
  }
}
