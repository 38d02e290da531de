/** Small requests on the client's websocket: their order, what goes over HTTP instead, and what becomes of them when
 *  the socket is lost. rfc/12, rule 37. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { connect } from '../../src/client/node.js'
import { inFlightMax } from '../../src/client/road.js'
import { smallSizeMax } from '../../src/client/small.js'
import { refusal, text } from '../kvs/expect.js'
import { CuttingProxy } from './cutting-proxy.js'
import { type Serving, serve } from './serving.js'

const fast = { minMs: 1, maxMs: 20 }

let serving: Serving
let proxy: CuttingProxy
let client: Store
let store: Serving['store']

beforeEach(async () => {
  serving = await serve()
  store = serving.store
  proxy = await CuttingProxy.start(serving.directory, serving.server.socket)
  client = await connect(proxy.target, { reconnect: fast })
})
afterEach(async () => {
  await client[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
  await serving[Symbol.asyncDispose]()
})

/** True if a request of the client goes over the socket now. */
async function asksOnSocket(each: Store): Promise<boolean> {
  const before = proxy.socketBytes
  await each.stat('none')
  return proxy.socketBytes > before
}

async function untilOnSocket(each: Store): Promise<void> {
  while (!(await asksOnSocket(each))) await each.stat('none')
}

/** Writes of all kinds, un-awaited; resolves to their seqs. */
async function writeMany(each: Store, count: number): Promise<number[]> {
  const writes = Array.from({ length: count }, async (_, at) => {
    if (at % 3 === 0) return each.put('k', `${at}`)
    if (at % 3 === 1) return each.append('log', `${at}\n`)
    return each.commit({ ops: [{ op: 'put', key: 'k', value: `${at}` }] })
  })
  return (await Promise.all(writes)).map(({ seq }) => seq)
}

function ascending(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, at) => from + at)
}

describe('un-awaited writes land in the order of their calls', () => {
  it('of a new client, whose socket opens meanwhile', async () => {
    expect(await writeMany(client, 300)).toEqual(ascending(1, 300))
    expect(proxy.sockets).toBe(1)
    expect(text(await store.get('log'))).toBe(
      ascending(0, 300)
        .filter((at) => at % 3 === 1)
        .map((at) => `${at}\n`)
        .join(''),
    )
  })

  it('on an open socket, which they share', async () => {
    await untilOnSocket(client)
    const connections = proxy.requests.length
    expect(await writeMany(client, 300)).toEqual(ascending(1, 300))
    expect(proxy.requests.length).toBe(connections)
    expect(proxy.sockets).toBe(1)
  })

  it('more than are sent at once', async () => {
    await untilOnSocket(client)
    const count = 3 * inFlightMax
    expect(await writeMany(client, count)).toEqual(ascending(1, count))
    const reads = Array.from({ length: count }, () => client.get('k'))
    const [first] = await Promise.all(reads)
    expect(text(first)).toBe(text(await store.get('k')))
  })

  it('where no websocket opens', async () => {
    proxy.cutAfter(...Array.from({ length: 1_000 }, () => 0))
    expect(await writeMany(client, 60)).toEqual(ascending(1, 60))
    expect(await client.get('none')).toBeUndefined()
  })
})

it('`requests: http` opens no websocket', async () => {
  await using plain = await connect(proxy.target, { reconnect: fast, requests: 'http' })
  await writeMany(plain, 30)
  expect(text(await plain.get('k'))).toBe(text(await store.get('k')))
  expect(proxy.sockets).toBe(0)
})

it('one request opens no websocket', async () => {
  await client.put('k', 'v')
  await client[Symbol.asyncDispose]()
  expect(proxy.sockets).toBe(0)
})

it('what is large goes over HTTP, in both directions', async () => {
  await untilOnSocket(client)
  const large = Buffer.alloc(smallSizeMax + 1, 'x')
  const before = proxy.socketBytes
  await client.put('large', large)
  await client.append('large log', large)
  await client.commit({ ops: [{ op: 'put', key: 'k', value: large }] })
  expect(proxy.socketBytes).toBe(before)
  expect((await client.get('large'))?.length).toBe(large.length)
  expect(proxy.socketBytes).toBeGreaterThan(large.length)
  await store.put('huge', Buffer.alloc(blobSizeMax + 1))
  const then = proxy.socketBytes
  expect((await client.get('huge'))?.length).toBe(blobSizeMax + 1)
  expect(proxy.socketBytes - then).toBeLessThan(1_000)
})

it('what a frame would say otherwise goes over HTTP, and is refused there', async () => {
  await untilOnSocket(client)
  const broken = 'a\ud800'
  expect(await refusal(client.put(broken, 'v'))).toMatchObject({ code: 'EINVAL' })
  expect(await refusal(client.get(broken))).toMatchObject({ code: 'EINVAL' })
  expect(await refusal(client.put('k', broken))).toMatchObject({ code: 'EINVAL' })
  expect((await store.list('')).entries).toEqual([])
})

it('its caller may write to its buffers', async () => {
  const bytes = Buffer.from('mine')
  const op = { op: 'put', key: 'committed', value: bytes } as const
  const writes = [client.put('k', bytes), client.append('log', bytes), client.commit({ ops: [op] })]
  bytes.fill('x')
  await Promise.all(writes)
  for (const key of ['k', 'log', 'committed']) expect(text(await store.get(key))).toBe('mine')
})

describe('when the socket is lost before the answer', () => {
  beforeEach(async () => {
    await store.put('k', 'v')
    await untilOnSocket(client)
  })

  it('a read is asked again, and a write is EUNKNOWN; then all goes on', async () => {
    proxy.loseAnswers(1)
    const read = client.get('k')
    const write = refusal(client.append('log', 'x'))
    expect(text(await read)).toBe('v')
    expect(await write).toMatchObject({ code: 'EUNKNOWN' })
    expect((await client.append('log', 'y')).result).toMatchObject({ index: expect.any(Number) })
    await untilOnSocket(client)
  })

  it('the end of the client: a read is ECLOSED, a write EUNKNOWN', async () => {
    proxy.holdAnswers()
    const read = refusal(client.get('k'))
    const write = refusal(client.append('log', 'x'))
    await expect.poll(async () => (await store.stat('log'))?.count).toBe(1)
    await client[Symbol.asyncDispose]()
    expect(await read).toMatchObject({ code: 'ECLOSED' })
    expect(await write).toMatchObject({ code: 'EUNKNOWN' })
  })
})

it('without an answer a write is EUNKNOWN and a read ETIMEDOUT; a signal ends both', async () => {
  await using hasty = await connect(proxy.target, { reconnect: fast, timeoutMs: 300 })
  await untilOnSocket(hasty)
  proxy.holdAnswers()
  const abort = new AbortController()
  const { signal } = abort
  const canceled = [hasty.get('k', { signal }), hasty.append('log', 'x', { signal })].map(refusal)
  const late = [hasty.get('k'), hasty.append('log', 'x')].map(refusal)
  abort.abort()
  for (const error of await Promise.all(canceled))
    expect(error).toMatchObject({ code: 'ECANCELED' })
  const [read, write] = await Promise.all(late)
  expect(read).toMatchObject({ code: 'ETIMEDOUT' })
  expect(write).toMatchObject({ code: 'EUNKNOWN' })
})

it('an unused socket keeps no program running', async () => {
  const program = `
    import { connect } from ${JSON.stringify(new URL('../../src/client/node.ts', import.meta.url).href)}
    const store = await connect(${JSON.stringify(serving.target)})
    await store.put('k', '1')
    for (let at = 0; at < 20; at++) await store.put('k', String(at))
    console.log(process.getActiveResourcesInfo().filter((name) => name === 'PipeWrap').length)
  `
  const args = ['--import', 'tsx', '--input-type=module', '-e', program]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [code] = await once(child, 'exit')
  expect(code).toBe(0)
  expect(text(await store.get('k'))).toBe('19')
}, 20_000)
