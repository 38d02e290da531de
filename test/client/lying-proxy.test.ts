/** What a proxy, a load balancer or a captive portal says in the server's place is an answer that was lost:
 *  rfc/12, rules 16, 21 and 23. */

import { beforeEach, describe, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import { readTriesMax } from '../../src/client/http.js'
import { connect } from '../../src/client/node.js'
import { refusal, text } from '../kvs/expect.js'
import { LyingProxy, lies } from './lying-proxy.js'
import { fast, type Serving, serve, serveLying } from './serving.js'

const html = { status: 502, headers: { 'content-type': 'text/html' }, body: '<html>' }
const page = (status: number) => ({ ...html, status })
const all = Object.entries(lies)

let proxy: LyingProxy
let client: Store
let store: Serving['store']

beforeEach(async () => {
  const served = await serveLying({ requests: 'http' })
  ;({ store, proxy, client } = served)
  return served.end
})

async function whole(chunks: AsyncIterable<Uint8Array>): Promise<number> {
  let size = 0
  for await (const chunk of chunks) size += chunk.length
  return size
}

describe.each(all)('%s', (_name, lie) => {
  it('is no answer to a read: it is asked again', async () => {
    await store.put('dir/k', 'v')
    const { jobs } = store
    const { id } = await jobs.submit({ command: ['true'], cwd: '/', env: {} })
    const reads: readonly (readonly [() => Promise<unknown>, unknown])[] = [
      [async () => text(await client.get('dir/k')), 'v'],
      [async () => (await client.stat('dir/k'))?.size, 1],
      [async () => (await client.list('dir')).entries.length, 1],
      [async () => (await client.readMany(['dir/k'])).values.length, 1],
      [async () => whole((await client.read('dir/k'))?.chunks ?? noChunks()), 1],
      [async () => (await client.root({ waitSeq: 1 })).namespace, 'primary'],
      [async () => text(await client.get('dir/k', { minSeq: 1 })), 'v'],
      [async () => (await client.jobs.wait(id)).state, 'finished'],
      [async () => (await whole(client.upkeep.export())) > 0, true],
      [async () => client.get('nothing'), undefined],
    ]
    for (const [read, answer] of reads) {
      proxy.lie(2, lie)
      expect(await read()).toEqual(answer)
    }
    expect(proxy.told).toBe(2 * reads.length)
  })

  it('is no answer to a write: it is EUNKNOWN, and exactly once goes on', async () => {
    proxy.lie(1, lie)
    expect(await refusal(client.append('plain', 'x'))).toMatchObject({ code: 'EUNKNOWN' })
    expect((await store.stat('plain'))?.count).toBe(lie.afterServer ? 1 : undefined)
    proxy.lie(3 * readTriesMax, lie)
    await client.append('log', 'x', { exactlyOnce: true })
    proxy.lie(3, lie)
    await client.put('k', 'x', { guards: [{ key: 'k', absent: true }], exactlyOnce: true })
    expect((await store.stat('log'))?.count).toBe(1)
    expect(text(await store.get('k'))).toBe('x')
  })
})

async function* noChunks(): AsyncGenerator<Uint8Array> {}

describe('where only something else answers', () => {
  it('a read ends after its tries, and says what came', async () => {
    proxy.lie(1_000, html)
    const error = await refusal(client.get('k'))
    expect(error).toMatchObject({ code: 'ECLOSED', message: expect.stringContaining('502') })
    expect(proxy.told).toBe(readTriesMax)
    proxy.stop()
    expect(await client.get('k')).toBeUndefined()
  })

  it('a write sent until it is answered ends with its signal, and with the client', async () => {
    proxy.lie(10_000, html)
    const abort = new AbortController()
    const { signal } = abort
    const canceled = refusal(client.append('log', 'x', { exactlyOnce: true, signal }))
    const closed = refusal(client.append('log', 'x', { exactlyOnce: true }))
    await expect.poll(() => proxy.told).toBeGreaterThan(2 * readTriesMax)
    abort.abort()
    expect(await canceled).toMatchObject({ code: 'ECANCELED' })
    await client[Symbol.asyncDispose]()
    expect(await closed).toMatchObject({ code: 'ECLOSED' })
  })

  it.each([
    [401, 'EUNAUTH'],
    [407, 'EUNAUTH'],
    [413, 'E2BIG'],
    [414, 'E2BIG'],
    [431, 'E2BIG'],
  ])('%s refuses what is sent, for good: %s', async (status, code) => {
    // Not for the question for the root, which the client asks before its first write.
    proxy.lie(1, { ...page(status), only: /^POST/ })
    const append = client.append('log', 'x', { exactlyOnce: true })
    expect(await refusal(append)).toMatchObject({ code })
    expect(await store.stat('log')).toBeUndefined()
  })
})

describe('connect', () => {
  it.each([200, 302, 400, 403, 404])(
    'to what is no Tailrace server is told at once: %s',
    async (status) => {
      proxy.lie(1, page(status))
      expect(await refusal(connect(proxy.target, { reconnect: fast }))).toMatchObject({
        code: 'EMISCONFIGURED',
        message: expect.stringContaining(`status ${status}`),
      })
    },
  )

  it('to another kind of server is told at once, too', async () => {
    const headers = { 'content-type': 'application/json' }
    proxy.lie(1, { status: 200, headers, body: '{"status":"ok"}' })
    const error = await refusal(connect(proxy.target, { reconnect: fast }))
    expect(error).toMatchObject({ code: 'EMISCONFIGURED' })
  })

  it('waits a while for a server whose load balancer is there before it', async () => {
    proxy.lie(3, html)
    await using late = await connect(proxy.target, { reconnect: fast })
    expect(late.storeId).toBe(store.storeId)
  })

  it('finds another store behind the same address: nothing is written there', async () => {
    await using other = await serve()
    proxy.cut()
    await store.put('k', 'mine')
    const moved = await LyingProxy.start(other.server.socket)
    await using wrong = await connect(moved.target, { storeId: store.storeId })
    const writing = wrong.append('log', 'x', { exactlyOnce: true })
    expect(await refusal(writing)).toMatchObject({ code: 'EMISCONFIGURED' })
    expect(await other.store.stat('log')).toBeUndefined()
    await wrong[Symbol.asyncDispose]()
    await moved[Symbol.asyncDispose]()
  })
})

describe('a watch', () => {
  it.each([502, 503, 504, 404, 200, 302])(
    'comes back after a handshake answered by %s',
    async (status) => {
      await store.append('log', 'zero')
      const watching = client.watch('log', { mode: 'append' })
      expect((await watching.next()).value).toMatchObject({ index: 0 })
      expect((await watching.next()).value).toMatchObject({ type: 'live' })
      // Both what asks whose store it is and the handshake are answered by something else for a while.
      proxy.lie(5, page(status))
      proxy.cut()
      await store.append('log', 'one')
      expect((await watching.next()).value).toMatchObject({ index: 1 })
      expect(proxy.told).toBe(5)
      await watching.return?.()
    },
  )

  it('through a proxy that has no websockets ends, and says so', async () => {
    await store.append('log', 'zero')
    await client.get('log')
    const watching = client.watch('log', { mode: 'append' })
    // The first handshake: whose store it is was asked before.
    proxy.lie(1, page(404))
    expect(await refusal(watching.next())).toMatchObject({ code: 'EMISCONFIGURED' })
  })
})
