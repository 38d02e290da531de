/** Watches over connections that are cut: no gap, no repeat, and the truth about what was replaced
 *  meanwhile. */

import { beforeEach, describe, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import type {
  AppendEvent,
  Position,
  WatchEvent,
  Watching,
  WatchOptions,
} from '../../src/api/watch.js'
import { connect } from '../../src/client/node.js'
import { refusal } from '../kvs/expect.js'
import { CuttingProxy } from './cutting-proxy.js'
import { fast, type Serving, serve, serveCutting } from './serving.js'

let serving: Serving
let proxy: CuttingProxy
let client: Store
let store: Serving['store']

beforeEach(async () => {
  const served = await serveCutting()
  ;({ serving, store, proxy, client } = served)
  return served.end
})

/** A client through the proxy. */
function away(options: Parameters<typeof connect>[1]): Promise<Store> {
  return connect(proxy.target, { storeId: store.storeId, reconnect: fast, ...options })
}

async function take(watching: Watching, count: number): Promise<WatchEvent[]> {
  const events: WatchEvent[] = []
  while (events.length < count) {
    const next = await watching.next()
    if (next.done) break
    events.push(next.value)
  }
  return events
}

async function all(watching: Watching): Promise<WatchEvent[]> {
  return take(watching, Number.POSITIVE_INFINITY)
}

function words(events: readonly WatchEvent[]): string[] {
  return events.map((event) =>
    event.type === 'append' || event.type === 'value'
      ? `${event.type === 'append' ? event.index : event.seq}:${Buffer.from(event.data ?? []).toString()}`
      : event.type,
  )
}

describe('a stream that is cut', () => {
  it('that begins beyond the end still begins there after a cut', async () => {
    await store.append('log', 'zero')
    const watching = client.watch('log', { mode: 'append', from: 2 })
    expect(words(await take(watching, 1))).toEqual(['live'])
    proxy.cut()
    for (const word of ['one', 'two']) await store.append('log', word)
    await store.append('log', 'three', { seal: true })
    expect(words(await all(watching))).toEqual(['2:two', '3:three', 'end'])
  })

  it('that begins beyond the end misses nothing by a trim of what is before that', async () => {
    await store.append('log', 'zero')
    const append = (...words: string[]) =>
      store.commit({ ops: words.map((value) => ({ op: 'append', key: 'log', value })) })
    const trim = (before: number) => store.commit({ ops: [{ op: 'trim', key: 'log', before }] })
    const watching = client.watch('log', { mode: 'append', from: 5 })
    const overtaken = client.watch('log', { mode: 'append', from: 3 })
    expect(words(await take(watching, 1))).toEqual(['live'])
    expect(words(await take(overtaken, 1))).toEqual(['live'])
    for (const [base, word] of [
      [3, 'one'],
      [5, 'four'],
    ] as const) {
      proxy.close()
      await append(word, `${word} and`, `${word} half`)
      await trim(base)
      proxy.open()
      if (base === 3) continue
      expect(words(await take(watching, 2))).toEqual(['5:four and', '6:four half'])
    }
    proxy.close()
    await append('seven')
    await trim(8)
    proxy.open()
    const oldest = (index: number) => ({
      code: 'ECOMPACTED',
      failed: { state: { base: { count: index }, position: { index } } },
    })
    expect(await refusal(all(watching))).toMatchObject(oldest(8))
    expect(await refusal(all(overtaken))).toMatchObject(oldest(5))
  })

  it('while its log is trimmed up to where it stands goes on; beyond that it learns the oldest position', async () => {
    for (const word of ['zero', 'one']) await store.append('log', word)
    const watching = client.watch('log', { mode: 'append' })
    expect(words(await take(watching, 3))).toEqual(['0:zero', '1:one', 'live'])
    const trim = (before: number) => store.commit({ ops: [{ op: 'trim', key: 'log', before }] })
    proxy.cut()
    await trim(2)
    await store.append('log', 'two')
    expect(words(await take(watching, 1))).toEqual(['2:two'])
    proxy.cut()
    await store.commit({
      ops: [
        { op: 'append', key: 'log', value: 'three' },
        { op: 'append', key: 'log', value: 'four' },
        { op: 'trim', key: 'log', before: 4 },
      ],
    })
    const error = await refusal(watching.next())
    expect(error).toMatchObject({
      code: 'ECOMPACTED',
      failed: { state: { base: { count: 4 }, position: { index: 4 } } },
    })
    const { position } = (error.failed?.state ?? {}) as { position?: Position }
    if (!position) throw new Error('the oldest position is told')
    const rest = client.watch('log', { mode: 'append', from: position })
    expect(words(await take(rest, 2))).toEqual(['4:four', 'live'])
    await rest.return?.()
  })

  it('after any number of bytes is delivered once, in order, to its end', async () => {
    for (const word of ['one', '']) await store.append('log', word)
    await store.append('log', 'three', { seal: true })
    const whole = await all(client.watch('log', { mode: 'append' }))
    expect(words(whole)).toEqual(['0:one', '1:', '2:three', 'live', 'end'])
    const total = proxy.socketBytes
    expect(total).toBeGreaterThan(700)
    // The answer to the upgrade is longer than this, and is one whole: a few cuts do. Behind it every second byte, the odd
    // or the even ones by chance.
    const upgraded = 128
    const cuts: number[] = []
    for (let cut = 1; cut < upgraded; cut += 16) cuts.push(cut)
    const chance = Math.floor(Math.random() * 2)
    for (let cut = upgraded + chance; cut < total; cut += 2) cuts.push(cut)
    for (const cut of cuts) {
      await using cutOff = await away({})
      proxy.cutAfter(cut)
      const before = proxy.sockets
      expect(words(await all(cutOff.watch('log', { mode: 'append' })))).toEqual(words(whole))
      expect(proxy.sockets - before, `cut after ${cut} of ${total} bytes`).toBe(2)
    }
  }, 120_000)

  it('again and again, while it grows, loses and repeats nothing', async () => {
    const count = 400
    let state = 7
    const random = () => {
      state = (state * 48_271) % 2_147_483_647
      return state
    }
    const writing = (async () => {
      for (let index = 0; index < count; index++) {
        await store.append('log', `${index}`.repeat(1 + (random() % 200)))
        proxy.cutAfter(random() % 20_000)
      }
    })()
    const seen: AppendEvent[] = []
    let lives = 0
    for await (const event of client.watch('log', { mode: 'append', waitCreate: true })) {
      if (event.type === 'live') lives++
      if (event.type !== 'append') continue
      seen.push(event)
      if (seen.length === count) break
    }
    await writing
    expect(seen.map(({ index }) => index)).toEqual(Array.from({ length: count }, (_, at) => at))
    const bytes = Buffer.concat(seen.map(({ data }) => data))
    expect(bytes.equals(Buffer.from((await store.get('log')) ?? []))).toBe(true)
    expect(lives).toBeLessThanOrEqual(1)
    expect(proxy.sockets).toBeGreaterThan(5)
  })

  it('goes on from what is queued, not from what was taken', async () => {
    for (const word of ['a', 'b', 'c']) await store.append('log', word)
    const watching = client.watch('log', { mode: 'append' })
    expect(words(await take(watching, 1))).toEqual(['0:a'])
    // All three and the marker are here before the cut: nothing of them is asked for again.
    await expect.poll(() => proxy.socketBytes).toBeGreaterThan(700)
    const before = proxy.socketBytes
    proxy.cut()
    await expect.poll(() => proxy.sockets).toBe(2)
    await store.append('log', 'd')
    expect(words(await take(watching, 4))).toEqual(['1:b', '2:c', 'live', '3:d'])
    expect(proxy.socketBytes - before).toBeLessThan(800)
    await watching.return?.()
  })

  it('of a key that is not there waits for it as before, is live once, and gets all that came', async () => {
    const late = client.watch('late', { mode: 'append', waitCreate: true, from: -1 })
    expect(words([(await late.next()).value])).toEqual(['live'])
    const next = late.next()
    proxy.cut()
    // While nobody is connected: what came was not there when the watch was live.
    await store.commit({
      ops: ['x', 'y', 'z'].map((value) => ({ op: 'append', key: 'late', value })),
    })
    expect(words([(await next).value])).toEqual(['0:x'])
    expect(words(await take(late, 2))).toEqual(['1:y', '2:z'])
    await store.append('late', 'w')
    expect(words(await take(late, 1))).toEqual(['3:w'])
    await late.return?.()
  })

  it('of values gives the current one again only if it moved', async () => {
    await store.put('k', 'v1')
    const watching = client.watch('k', { mode: 'value', uniq: true })
    expect(words(await take(watching, 1))).toEqual(['1:v1'])
    proxy.cut()
    await expect.poll(() => proxy.sockets).toBe(2)
    await expect.poll(() => store.watchers).toBe(1)
    await store.put('k', 'v2')
    expect(words(await take(watching, 1))).toEqual(['2:v2'])
    proxy.close()
    await store.put('k', 'v3')
    await store.put('k', 'v4')
    proxy.open()
    const [event] = await take(watching, 1)
    expect(event).toMatchObject({ type: 'value', seq: 4, skipped: true })
    await watching.return?.()
  })

  it('ends with ECLOSED where reconnect is off', async () => {
    await using plain = await away({ reconnect: false })
    await store.append('log', 'a')
    const watching = plain.watch('log', { mode: 'append' })
    expect(words(await take(watching, 2))).toEqual(['0:a', 'live'])
    const next = watching.next()
    proxy.cut()
    await expect(next).rejects.toMatchObject({ code: 'ECLOSED' })
    expect(await watching.next()).toEqual({ done: true, value: undefined })
  })
})

describe('while the client is away', () => {
  /** What the watch says after it has seen the key, lost its connection, and the change was made. */
  async function failureAfter(
    change: () => Promise<unknown>,
    options: Partial<WatchOptions> & { readonly key?: string } = {},
  ): Promise<unknown> {
    const { key = 'log', ...rest } = options
    const watching = client.watch(key, { mode: 'append', ...rest })
    await take(watching, 3)
    const next = watching.next()
    proxy.close()
    await expect.poll(() => store.watchers).toBe(0)
    await change()
    proxy.open()
    return next.then(
      ({ value }) => words([value]),
      (error: unknown) => (error as { code?: unknown }).code,
    )
  }

  beforeEach(async () => {
    await store.append('log', 'a')
    await store.append('log', 'b')
  })

  it('the key grew: the watch goes on', async () => {
    expect(await failureAfter(() => store.append('log', 'c'))).toEqual(['2:c'])
  })

  it('the key was overwritten: EOVERWRITTEN', async () => {
    expect(await failureAfter(() => store.put('log', 'other'))).toBe('EOVERWRITTEN')
  })

  it('the key was replaced by a log of the same length and more: EOVERWRITTEN', async () => {
    const replace = async () => {
      await store.commit({ ops: [{ op: 'unlink', key: 'log' }] })
      for (const word of ['a', 'x', 'c']) await store.append('log', word)
    }
    expect(await failureAfter(replace)).toBe('EOVERWRITTEN')
  })

  it('the key was removed: ENOENT, also if the watch had waited for it', async () => {
    const remove = () => store.commit({ ops: [{ op: 'unlink', key: 'log' }] })
    expect(await failureAfter(remove, { waitCreate: true })).toBe('ENOENT')
  })

  it('the key became a directory: EISDIR or EOVERWRITTEN, never its bytes', async () => {
    const change = () =>
      store.commit({
        ops: [
          { op: 'unlink', key: 'log' },
          { op: 'mkdir', key: 'log' },
        ],
      })
    expect(['EISDIR', 'EOVERWRITTEN']).toContain(await failureAfter(change))
  })

  it('the namespace was removed: ENONS', async () => {
    await store.namespaces.create('room')
    await store.append('log', 'a', { namespace: 'room' })
    await store.append('log', 'b', { namespace: 'room' })
    const remove = () => store.namespaces.remove('room')
    expect(await failureAfter(remove, { namespace: 'room', waitCreate: true })).toBe('ENONS')
  })

  it('the namespace was made anew with the same log: EOVERWRITTEN', async () => {
    const fill = async () => {
      await store.namespaces.create('room')
      await store.append('log', 'a', { namespace: 'room' })
      await store.append('log', 'b', { namespace: 'room' })
    }
    await fill()
    const anew = async () => {
      await store.namespaces.remove('room')
      await fill()
      await store.append('log', 'c', { namespace: 'room' })
    }
    expect(await failureAfter(anew, { namespace: 'room' })).toBe('EOVERWRITTEN')
  })

  it('another store took the address: EMISCONFIGURED', async () => {
    const watching = client.watch('log', { mode: 'append' })
    await take(watching, 3)
    const next = watching.next()
    next.catch(() => {})
    proxy.close()
    await using other = await serve()
    await proxy[Symbol.asyncDispose]()
    await using _ = await CuttingProxy.start(serving.directory, other.server.socket)
    await expect(next).rejects.toMatchObject({ code: 'EMISCONFIGURED' })
  })
})

it('a server that stops and comes back is found again', async () => {
  await store.append('log', 'a')
  const watching = client.watch('log', { mode: 'append' })
  expect(words(await take(watching, 2))).toEqual(['0:a', 'live'])
  const next = watching.next()
  await serving.server.stop()
  const { startServer } = await import('../../src/server/server.js')
  await using again = await startServer(store, { directory: serving.directory, log: () => {} })
  expect(again.socket).toBe(serving.server.socket)
  await store.append('log', 'b')
  expect(words([(await next).value])).toEqual(['1:b'])
  await watching.return?.()
})
