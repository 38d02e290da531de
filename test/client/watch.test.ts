/** Watches over one websocket: credit, cancel in each state, dispose. */

import { setImmediate as turn } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import type { WatchEvent, Watching } from '../../src/api/watch.js'
import { connect } from '../../src/client/node.js'
import { frameCost } from '../../src/wire/frames.js'
import type { CuttingProxy } from './cutting-proxy.js'
import { type Serving, serveCutting } from './serving.js'

const window = 64 * 1024

let proxy: CuttingProxy
let client: Store
let store: Serving['store']

beforeEach(async () => {
  const served = await serveCutting({ credit: window })
  ;({ store, proxy, client } = served)
  return served.end
})

async function takeBytes(watching: Watching, size: number): Promise<number> {
  let seen = 0
  while (seen < size) {
    const { value, done } = await watching.next()
    if (done) break
    const event: WatchEvent = value
    if (event.type === 'append') seen += event.data.length
  }
  return seen
}

describe('credit', () => {
  const blob = 10_000
  const count = 400

  beforeEach(async () => {
    const value = Buffer.alloc(blob, 7)
    for (let done = 0; done < count; done += 100) {
      await store.commit({ ops: Array(100).fill({ op: 'append', key: 'log', value }) })
    }
  })

  it('stops a stream whose consumer stops, and no other of the same socket', async () => {
    const slow = client.watch('log', { mode: 'append' })
    await slow.next()
    const most = window + blob + 16 * 1024
    await expect.poll(() => proxy.socketBytes).toBeGreaterThan(window)
    const quick = client.watch('log', { mode: 'append' })
    expect(await takeBytes(quick, blob * count)).toBe(blob * count)
    await quick.return?.()
    // The quick one has had everything, over the same socket; the slow one no more than its window.
    expect(proxy.sockets).toBe(1)
    const perEvent = blob + 512
    expect(proxy.socketBytes).toBeLessThan(perEvent * count + most)
    expect(await takeBytes(slow, blob * (count - 1))).toBe(blob * (count - 1))
    await slow.return?.()
  })

  it('of one byte still delivers everything, a frame at a time', async () => {
    await using careful = await connect(proxy.target, { credit: 1 })
    const watching = careful.watch('log', { mode: 'append' })
    expect(await takeBytes(watching, blob * 3)).toBe(blob * 3)
    await turn()
    expect(proxy.socketBytes).toBeLessThan((blob + 512) * 5)
    await watching.return?.()
  })

  it('is what is free in the window, after the connection was lost with a full queue', async () => {
    await store.put('small', 'v')
    const slow = client.watch('log', { mode: 'append' })
    await slow.next()
    await expect.poll(() => proxy.socketBytes).toBeGreaterThan(window)
    for (let cuts = 1; cuts <= 5; cuts++) {
      proxy.cut()
      await expect.poll(() => proxy.sockets).toBe(1 + cuts)
      // An answer on the new socket: the server has seen what the slow watch asked for before.
      const probe = client.watch('small', { mode: 'value' })
      expect((await probe.next()).value).toMatchObject({ type: 'value' })
      await probe.return?.()
    }
    expect(proxy.socketBytes).toBeLessThan(window + 2 * (blob + frameCost) + 16 * 1024)
    expect(await takeBytes(slow, blob * (count - 1))).toBe(blob * (count - 1))
    await slow.return?.()
  })
})

describe('cancel', () => {
  it('before the first next opens nothing', async () => {
    const watching = client.watch('log', { mode: 'append', waitCreate: true })
    expect(await watching.return?.()).toEqual({ done: true, value: undefined })
    expect(await watching.next()).toEqual({ done: true, value: undefined })
    expect(proxy.sockets).toBe(0)
    const aborted = client.watch('log', { mode: 'append', signal: AbortSignal.abort() })
    await expect(aborted.next()).rejects.toMatchObject({ code: 'ECANCELED' })
    expect(proxy.sockets).toBe(0)
  })

  it('while the socket is opened: by return and by signal', async () => {
    proxy.holdAnswers()
    const watching = client.watch('log', { mode: 'append', waitCreate: true })
    const next = watching.next()
    await expect.poll(() => proxy.sockets).toBe(1)
    await watching.return?.()
    expect(await next).toEqual({ done: true, value: undefined })
    const abort = new AbortController()
    const other = client.watch('log', { mode: 'append', signal: abort.signal })
    const waiting = other.next()
    await expect.poll(() => proxy.sockets).toBe(2)
    abort.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'ECANCELED' })
    await expect.poll(() => proxy.connections).toBeLessThanOrEqual(1)
  })

  it('while it waits for a reconnect', async () => {
    await store.append('log', 'a')
    const abort = new AbortController()
    const watching = client.watch('log', { mode: 'append', signal: abort.signal })
    await watching.next()
    await watching.next()
    const next = watching.next()
    proxy.close()
    await expect.poll(() => store.watchers).toBe(0)
    abort.abort()
    await expect(next).rejects.toMatchObject({ code: 'ECANCELED' })
    expect(await watching.next()).toEqual({ done: true, value: undefined })
    proxy.open()
    // The next one finds its way.
    const again = client.watch('log', { mode: 'append' })
    expect((await again.next()).value).toMatchObject({ type: 'append', index: 0 })
    await again.return?.()
  })

  it('while data are queued drops them, and ends the watch at the server', async () => {
    for (const word of ['a', 'b', 'c']) await store.append('log', word)
    const abort = new AbortController()
    const watching = client.watch('log', { mode: 'append', signal: abort.signal })
    await watching.next()
    abort.abort()
    await expect(watching.next()).rejects.toMatchObject({ code: 'ECANCELED' })
    await expect.poll(() => store.watchers).toBe(0)
    for await (const event of client.watch('log', { mode: 'append' })) {
      expect(event.type).toBe('append')
      break
    }
    await expect.poll(() => store.watchers).toBe(0)
  })
})

describe('ends', () => {
  it('a missing key is ENOENT, a missing namespace ENONS, a bad key EINVAL, each of its own watch', async () => {
    const opened = client.watch('log', { mode: 'append', waitCreate: true })
    expect((await opened.next()).value).toEqual({ type: 'live' })
    const first = opened.next()
    const codeOf = (watching: Watching) =>
      watching.next().then(
        () => 'none',
        (error: unknown) => (error as { code?: unknown }).code,
      )
    expect(await codeOf(client.watch('none', { mode: 'append' }))).toBe('ENOENT')
    expect(await codeOf(client.watch('k', { mode: 'value', namespace: 'none' }))).toBe('ENONS')
    expect(await codeOf(client.watch('a/../b', { mode: 'value' }))).toBe('EINVAL')
    await store.append('log', 'a')
    expect((await first).value).toMatchObject({ index: 0 })
    expect(proxy.sockets).toBe(1)
    await opened.return?.()
  })

  it('next() called many times at once answers in order, and is done after the end', async () => {
    await store.append('log', 'a')
    await store.append('log', 'b', { seal: true })
    const watching = client.watch('log', { mode: 'append' })
    const nexts = await Promise.all(Array.from({ length: 6 }, () => watching.next()))
    expect(nexts.map(({ value }) => (value as WatchEvent | undefined)?.type)).toEqual([
      'append',
      'append',
      'live',
      'end',
      undefined,
      undefined,
    ])
  })

  it('dispose ends watches with ECLOSED, and leaves no connection', async () => {
    await store.append('log', 'a')
    const watching = client.watch('log', { mode: 'append' })
    await watching.next()
    await watching.next()
    const next = watching.next()
    const unopened = client.watch('log', { mode: 'append' })
    next.catch(() => {})
    await client[Symbol.asyncDispose]()
    await client[Symbol.asyncDispose]()
    await expect(next).rejects.toMatchObject({ code: 'ECLOSED' })
    await expect(unopened.next()).rejects.toMatchObject({ code: 'ECLOSED' })
    await expect(client.get('log')).rejects.toMatchObject({ code: 'ECLOSED' })
    await expect.poll(() => proxy.connections).toBe(0)
    await expect.poll(() => store.watchers).toBe(0)
  })

  it('an idle socket is closed after the last watch', async () => {
    await store.append('log', 'a', { seal: true })
    for await (const _ of client.watch('log', { mode: 'append' }));
    for await (const _ of client.watch('log', { mode: 'append' }));
    expect(proxy.sockets).toBe(1)
    await expect.poll(() => proxy.requests.length - proxy.connections, { timeout: 5_000 }).toBe(1)
  })

  it('no server at all is ECLOSED with what to do', async () => {
    const { storeId } = store
    await using nobody = await connect('unix:/tmp/tailrace-nobody.sock', { storeId })
    await expect(nobody.watch('log', { mode: 'append' }).next()).rejects.toMatchObject({
      code: 'ECLOSED',
      message: expect.stringContaining('tailrace serve'),
    })
  })
})
