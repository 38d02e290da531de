/** A server, or what stands before it, that is silent: every call ends, in the time that the client was given
 *  (rfc/12, rule 24). */

import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import { connect, connectionsMax } from '../../src/client/node.js'
import { connect as connectWeb } from '../../src/client/web.js'
import { refusal, text } from '../kvs/expect.js'
import type { LyingProxy } from './lying-proxy.js'
import { type Serving, serveLying } from './serving.js'

/** Far above what a call takes on a slow machine. */
const timeoutMs = 600
const mute = { status: 0, mute: true } as const

let serving: Serving
let proxy: LyingProxy
let client: Store
let store: Serving['store']
/** Takes connections, and says nothing. */
let silent: Server
let silentTarget: string

beforeEach(async () => {
  const served = await serveLying({ timeoutMs, server: { listen: ['127.0.0.1:0'] } })
  ;({ serving, store, proxy, client } = served)
  silent = createServer().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  silentTarget = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`
  return async () => {
    await served.end()
    silent.close()
  }
})

/** For longer than a request may last. */
async function outlast(): Promise<void> {
  const twice = { timeoutMs: 2 * timeoutMs }
  expect(await refusal(connect(silentTarget, twice))).toMatchObject({ code: 'ETIMEDOUT' })
}

describe('a server that does not answer', () => {
  it('ends a read with ETIMEDOUT, and is asked anew by the next', async () => {
    await store.put('k', 'v')
    const reads: readonly (() => Promise<unknown>)[] = [
      () => client.get('k'),
      () => client.read('k'),
      async () => {
        for await (const _ of client.upkeep.export());
      },
    ]
    for (const read of reads) {
      proxy.lie(1, mute)
      expect(await refusal(read())).toMatchObject({ code: 'ETIMEDOUT' })
    }
    expect(text(await client.get('k'))).toBe('v')
  })

  it('leaves a write that it has EUNKNOWN; one that it does not take is ETIMEDOUT', async () => {
    proxy.lie(1, mute)
    expect(await refusal(client.append('log', 'x'))).toMatchObject({ code: 'EUNKNOWN' })
    const body = async function* () {
      for (let sent = 0; sent < 1_000; sent++) yield Buffer.alloc(100_000)
    }
    proxy.lie(1, mute)
    expect(await refusal(client.put('k', body()))).toMatchObject({ code: 'ETIMEDOUT' })
    expect(await store.get('k')).toBeUndefined()
  })

  it('does not end what is sent until it is answered', async () => {
    proxy.lie(2, mute)
    await client.append('log', 'x', { exactlyOnce: true })
    expect((await store.stat('log'))?.count).toBe(1)
  })

  it('in the middle of a value is ETIMEDOUT', async () => {
    await store.put('k', 'whole')
    const { stat } = (await client.read('k')) ?? {}
    const headers = { 'tailrace-stat': JSON.stringify(stat), 'content-length': '5' }
    proxy.lie(1, { status: 200, headers, body: 'who', mute: true })
    expect(await refusal(client.get('k'))).toMatchObject({ code: 'ETIMEDOUT' })
    proxy.lie(1, { status: 200, headers, body: 'who', mute: true })
    const reading = await client.read('k')
    const chunks: Uint8Array[] = []
    const read = async () => {
      for await (const chunk of reading?.chunks ?? []) chunks.push(chunk)
    }
    expect(await refusal(read())).toMatchObject({ code: 'ETIMEDOUT' })
    expect(Buffer.concat(chunks).toString()).toBe('who')
  })

  it('ends calls that wait for a connection, too', async () => {
    const many = 2 * connectionsMax
    proxy.lie(many, mute)
    const gets = Array.from({ length: many }, () => refusal(client.get('k')))
    for (const error of await Promise.all(gets)) expect(error).toMatchObject({ code: 'ETIMEDOUT' })
  })
})

describe('connect to a port that never answers', () => {
  it.each([
    ['node', connect],
    ['web', connectWeb],
  ])('%s: ETIMEDOUT', async (_name, open) => {
    expect(await refusal(open(silentTarget, { timeoutMs }))).toMatchObject({ code: 'ETIMEDOUT' })
    // Nothing is asked at first: the first call is.
    await using late = await open(silentTarget, { timeoutMs, storeId: store.storeId })
    const calls = [
      late.get('k'),
      late.put('k', 'v'),
      late.watch('k', { mode: 'value' }).next(),
    ].map((call: Promise<unknown>) => refusal(call))
    for (const error of await Promise.all(calls)) expect(error).toMatchObject({ code: 'ETIMEDOUT' })
  })
})

describe('in a browser', () => {
  it('reads end with ETIMEDOUT, writes with EUNKNOWN, waits wait', async () => {
    const target = `http://${serving.server.listen[0]}`
    const { token } = serving.server
    await using page = await connectWeb(target, { token, timeoutMs })
    const reached = page.get('k', { minSeq: 1 })
    await outlast()
    await store.put('k', 'v')
    expect(text(await reached)).toBe('v')
    await using far = await connectWeb(proxy.target, { timeoutMs, requests: 'http' })
    proxy.lie(2, mute)
    expect(await refusal(far.get('k'))).toMatchObject({ code: 'ETIMEDOUT' })
    // Whose store it is was forgotten, and is asked first.
    expect(await refusal(far.put('k', 'w'))).toMatchObject({ code: 'ETIMEDOUT' })
    await far.get('k')
    proxy.lie(1, mute)
    expect(await refusal(far.put('k', 'w'))).toMatchObject({ code: 'EUNKNOWN' })
  })
})

describe('what may last longer than the time-out', () => {
  it('a put whose source is slow', async () => {
    const slow = async function* () {
      yield Buffer.alloc(1_000)
      await outlast()
      yield Buffer.alloc(1_000)
    }
    await client.put('k', slow())
    expect((await store.stat('k'))?.size).toBe(2_000)
  })

  it('a read whose consumer is slow', async () => {
    await store.put('k', Buffer.alloc(3_000_000))
    let size = 0
    for await (const chunk of (await client.read('k'))?.chunks ?? []) {
      if (size === 0) await outlast()
      size += chunk.length
    }
    expect(size).toBe(3_000_000)
  })

  it('waits: for a seq, for a job, for an event', async () => {
    const job = await client.jobs.submit({ command: ['sleep', '1.5'], cwd: '/', env: {} })
    const watching = client.watch('k', { mode: 'value', waitCreate: true })
    const waits = [
      client.root({ waitSeq: 1 }),
      client.get('k', { minSeq: 1 }),
      client.jobs.wait(job.id),
      watching.next(),
    ]
    await outlast()
    await store.put('k', 'v')
    await Promise.all(waits)
    await watching.return?.()
  })
})
