/** Small requests on the client's websocket: their order, what goes over HTTP instead, and what becomes of them when
 *  the socket is lost. rfc/12, rule 37. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { connect } from '../../src/client/node.js'
import { inFlightMax } from '../../src/client/road.js'
import { smallSizeMax } from '../../src/client/small.js'
import { startServer } from '../../src/server/server.js'
import { refusal, text } from '../kvs/expect.js'
import { bundledPrograms } from '../support/programs.js'
import type { CuttingProxy } from './cutting-proxy.js'
import { fast, openSocket, type Serving, serveCutting } from './serving.js'

const programs = bundledPrograms({ client: 'src/client/node.ts' })

let serving: Serving
let proxy: CuttingProxy
let client: Store
let store: Serving['store']

beforeEach(async () => {
  const served = await serveCutting()
  ;({ serving, store, proxy, client } = served)
  return served.end
})

type NamedCall = readonly [name: string, call: () => Promise<unknown>]

/** One call of each kind that is small, in an order in which all succeed. `own` is in all names. */
async function callsOf(
  { history, namespaces, jobs, upkeep, ...store }: Store,
  own: string,
): Promise<readonly NamedCall[]> {
  const run = { command: ['sleep', '100'], cwd: '/', env: { PATH: process.env['PATH'] ?? '' } }
  const key = `${own}/k`
  const { seq } = await store.put(key, 'v')
  const { id } = await jobs.submit(run)
  const lease = async () => {
    await using held = await store.leases.take(key)
    return store.put(key, 'x', { guards: [held.guard] })
  }
  return [
    ['get', () => store.get(key)],
    ['stat', () => store.stat(key)],
    ['list', () => store.list(own)],
    ['treeobj', () => store.treeobj(key)],
    ['readMany', () => store.readMany([key])],
    ['root', () => store.root()],
    ['a read that waits', () => store.get(key, { minSeq: 1 })],
    ['put', () => store.put(key, 'w')],
    ['append', () => store.append(`${own}/log`, 'w')],
    ['commit', () => store.commit({ ops: [{ op: 'mkdir', key: `${own}/dir` }] })],
    ['eventlog', () => store.eventlog(`${own}/events`).append([{ timestamp: 1, name: 'a' }])],
    ['leases', lease],
    ['history.roots', () => history.roots()],
    ['history.diff', () => history.diff({ from: seq })],
    ['history.log', () => history.log(key)],
    ['history.pin', () => history.pin(own)],
    ['history.pins', () => history.pins()],
    ['history.unpin', () => history.unpin(own)],
    ['namespaces.create', () => namespaces.create(own)],
    ['namespaces.configure', () => namespaces.configure(own, { historyCount: 7 })],
    ['namespaces.list', () => namespaces.list()],
    ['namespaces.remove', () => namespaces.remove(own)],
    ['upkeep.usage', () => upkeep.usage()],
    ['jobs.submit', () => jobs.submit({ ...run, command: ['true'] })],
    ['jobs.list', () => jobs.list()],
    ['jobs.show', () => jobs.show(id)],
    ['jobs.signal', () => jobs.signal(id, 'SIGKILL')],
    ['jobs.wait', () => jobs.wait(id)],
    ['jobs.remove', () => jobs.remove(id)],
    ['jobs.prune', () => jobs.prune({ olderThanMs: 1_000_000 })],
  ]
}

it('small requests of all kinds go over the socket, and answer as over HTTP', async () => {
  await openSocket(client)
  await using plain = await connect(serving.target, { requests: 'http' })
  const overHttp = await callsOf(plain, 'b')
  const fields = (answer: unknown) => Object.keys(answer ?? {}).sort()
  for (const [at, [name, call]] of (await callsOf(client, 'a')).entries()) {
    const [bytes, connections] = [proxy.socketBytes, proxy.requests.length]
    const answer = await call()
    expect(proxy.socketBytes, name).toBeGreaterThan(bytes)
    expect(proxy.requests.length, name).toBe(connections)
    expect(fields(answer), name).toEqual(fields(await overHttp[at]?.[1]()))
  }
})

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
    await openSocket(client)
    const connections = proxy.requests.length
    expect(await writeMany(client, 300)).toEqual(ascending(1, 300))
    expect(proxy.requests.length).toBe(connections)
    expect(proxy.sockets).toBe(1)
  })

  it('more than are sent at once', async () => {
    await openSocket(client)
    const count = 3 * inFlightMax
    expect(await writeMany(client, count)).toEqual(ascending(1, count))
    const reads = Array.from({ length: count }, () => client.get('k'))
    const [first] = await Promise.all(reads)
    expect(text(first)).toBe(text(await store.get('k')))
  })

  it.each(['on an open socket', 'of a new client', 'over HTTP'])(
    'whatever their kinds are, %s',
    async (where) => {
      if (where === 'on an open socket') await openSocket(client)
      if (where === 'over HTTP') proxy.cutAfter(...Array.from({ length: 1_000 }, () => 0))
      const job = { command: ['true'], cwd: '/', env: {} }
      const calls = Array.from({ length: 10 }, (_, at): NamedCall[] => [
        ['pin', () => client.history.pin(`pin-${at}`)],
        ['put', () => client.put('k', `${at}`)],
        // Made of the newest root: with the put before it, and without the one behind it.
        ['room', () => client.namespaces.create(`room-${at}`, { from: {} })],
        ['log', () => client.append('log', `${at}`, { namespace: `room-${at}` })],
        ['job', () => client.jobs.submit(job)],
        ['event', () => client.eventlog('events').append([{ timestamp: at, name: 'a' }])],
        ['settings', () => client.namespaces.configure(`room-${at}`, { historyCount: 7 })],
      ]).flat()
      const ended: string[] = []
      const note = async ([name, call]: NamedCall) => {
        await call()
        ended.push(name)
      }
      await Promise.all(calls.map(note))
      expect(ended).toEqual(calls.map(([name]) => name))
      for (let at = 0; at < 10; at++) {
        expect(text(await store.get('k', { namespace: `room-${at}` }))).toBe(`${at}`)
      }
    },
  )

  it('many jobs are submitted at once, and run in that order', async () => {
    await openSocket(client)
    const submits = Array.from({ length: 40 }, () =>
      client.jobs.submit({ command: ['true'], cwd: '/', env: {} }),
    )
    const ids = (await Promise.all(submits)).map(({ id }) => id)
    expect(ids).toEqual([...ids].sort())
    const ended = await Promise.all(ids.map((id) => client.jobs.wait(id)))
    expect(ended.every(({ status }) => status === 0)).toBe(true)
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
  await openSocket(client)
  const large = Buffer.alloc(smallSizeMax + 1, 'x')
  const before = proxy.socketBytes
  await client.put('large', large)
  await client.append('large log', large)
  await client.commit({ ops: [{ op: 'put', key: 'k', value: large }] })
  expect(proxy.socketBytes).toBe(before)
  await store.put('blob', Buffer.alloc(blobSizeMax))
  expect((await client.get('blob'))?.length).toBe(blobSizeMax)
  expect(proxy.socketBytes).toBeGreaterThan(blobSizeMax)
  await store.put('huge', Buffer.alloc(blobSizeMax + 1))
  const then = proxy.socketBytes
  expect((await client.get('huge'))?.length).toBe(blobSizeMax + 1)
  expect(proxy.socketBytes - then).toBeLessThan(1_000)
})

it('appends of whole blobs land in the order of their calls, though none was awaited', async () => {
  await openSocket(client)
  // More than may be on their way at once.
  const pieces = Array.from({ length: 80 }, (_, n) => Buffer.alloc(blobSizeMax, `${n} `))
  await Promise.all(pieces.map((piece) => client.append('pieces', piece)))
  const bytes = await store.get('pieces')
  expect(bytes && Buffer.compare(bytes, Buffer.concat(pieces))).toBe(0)
})

it('what a frame would say otherwise goes over HTTP, and is refused there', async () => {
  await openSocket(client)
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
    await openSocket(client)
  })

  it('a read is asked again, and a write is EUNKNOWN; then all goes on', async () => {
    proxy.loseAnswers(1)
    const read = client.get('k')
    const write = refusal(client.append('log', 'x'))
    expect(text(await read)).toBe('v')
    expect(await write).toMatchObject({ code: 'EUNKNOWN' })
    expect((await client.append('log', 'y')).result).toMatchObject({ index: expect.any(Number) })
    await openSocket(client)
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

describe('a wait on the socket', () => {
  /** Resolves once the server has the wait. */
  async function asked<T>(call: () => Promise<T>): Promise<{ readonly wait: Promise<T> }> {
    const before = proxy.askedBytes
    const wait = call()
    await expect.poll(() => proxy.askedBytes).toBeGreaterThan(before)
    return { wait }
  }

  beforeEach(() => openSocket(client))

  it('holds up no other request, and ends when what it waits for has happened', async () => {
    const count = inFlightMax + 10
    const waits = Array.from({ length: count }, () => client.root({ waitSeq: 1 }))
    expect(await client.get('k')).toBeUndefined()
    const { seq } = await client.put('k', 'v')
    expect((await Promise.all(waits)).map((root) => root.seq)).toEqual(Array(count).fill(seq))
  })

  it('is asked again when the socket is lost', async () => {
    const { wait } = await asked(() => client.get('k', { minSeq: 1 }))
    proxy.cut()
    await store.put('k', 'v')
    expect(text(await wait)).toBe('v')
  })

  it('outlives its server', async () => {
    const { wait } = await asked(() => client.root({ waitSeq: 1 }))
    await serving.server.stop()
    await using again = await startServer(store, { directory: serving.directory, log: () => {} })
    expect(again.socket).toBe(serving.server.socket)
    await store.put('k', 'v')
    expect((await wait).seq).toBe(1)
  })

  it('ends with its signal', async () => {
    const abort = new AbortController()
    const { signal } = abort
    const { wait } = await asked(() => client.root({ waitSeq: 1, signal }))
    abort.abort()
    expect(await refusal(wait)).toMatchObject({ code: 'ECANCELED' })
  })

  it('has no time-out, and ends with its client', async () => {
    await using hasty = await connect(proxy.target, { reconnect: fast, timeoutMs: 200 })
    await openSocket(hasty)
    const { wait } = await asked(() => hasty.root({ waitSeq: 1 }))
    const ended = refusal(wait)
    proxy.holdAnswers()
    expect(await refusal(hasty.get('k'))).toMatchObject({ code: 'ETIMEDOUT' })
    expect(await Promise.race([ended, 'it waits'])).toBe('it waits')
    await hasty[Symbol.asyncDispose]()
    expect(await ended).toMatchObject({ code: 'ECLOSED' })
  })
})

it('without an answer a write is EUNKNOWN and a read ETIMEDOUT; a signal ends both', async () => {
  await using hasty = await connect(proxy.target, { reconnect: fast, timeoutMs: 300 })
  await openSocket(hasty)
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
    import { connect } from ${JSON.stringify(programs.client)}
    const store = await connect(${JSON.stringify(serving.target)})
    await store.put('k', '1')
    for (let at = 0; at < 20; at++) await store.put('k', String(at))
    console.log(process.getActiveResourcesInfo().filter((name) => name === 'PipeWrap').length)
  `
  const args = ['--input-type=module', '-e', program]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [code] = await once(child, 'exit')
  expect(code).toBe(0)
  expect(text(await store.get('k'))).toBe('19')
}, 20_000)
