/** What clients can make a server hold is bounded: bodies on their way, requests that wait. See rfc/12, rule 32. */

import { once } from 'node:events'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { deferred } from '../../src/base/deferred.js'
import { systemEnvironment } from '../../src/base/environment.js'
import { bodySizeMax } from '../../src/server/body.js'
import {
  BodyBudget,
  bodiesSizeMax,
  bodyFreeSize,
  evictedMs,
  roomWaitersMax,
} from '../../src/server/body-budget.js'
import { walksMax } from '../../src/server/history.js'
import { crowdedMax, openMax, pipelinedMax } from '../../src/server/pipeline.js'
import { Peer } from './peer.js'
import { Raw, refusalIn } from './raw.js'
import { Serving } from './serving.js'

let serving: Serving

beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(() => serving[Symbol.asyncDispose]())

it('large bodies on their way are bounded together: one that stalls makes room, small ones go beside them', async () => {
  const half = Buffer.alloc(bodySizeMax - 1_000, ' ').toString()
  const fitting = Math.floor(bodiesSizeMax / half.length)
  const open: Raw[] = []
  try {
    for (let n = 0; n <= fitting; n++) {
      const raw = await Raw.overSocket(serving)
      raw.send(['POST /v1/txn HTTP/1.1', 'Host: x', `Content-Length: ${bodySizeMax}`], half)
      open.push(raw)
      // Until the server has read it.
      if (n < fitting) await once(raw.socket, 'drain')
    }
    const given = await Promise.race(open.map((raw) => raw.until(/\r\n\r\n\{.*\}$/s)))
    expect(refusalIn(given)).toBe('408 ETIMEDOUT')
    const small = await serving.ask('POST', '/v1/kv/small', { body: 'x'.repeat(bodyFreeSize) })
    expect(small.status).toBe(200)
    const taken = open.find((raw) => raw.text === '')
    taken?.socket.write(Buffer.alloc(1_000, ' '))
    expect(await taken?.until(/\r\n\r\n\{.*\}$/s)).toMatch(/EINVAL/)
  } finally {
    for (const raw of open) await raw[Symbol.asyncDispose]()
  }
})

it('a large body has its memory until it is answered, a message until it was taken', async () => {
  const { store } = serving
  const commit = store.commit
  const first = deferred<void>()
  let begun = 0
  store.commit = async (transaction) => {
    begun++
    await first.promise
    return commit.call(store, transaction)
  }
  const ops = JSON.stringify({ ops: [{ op: 'put', key: 'large', value: 'x' }] })
  const body = ops.padEnd(bodySizeMax, ' ')
  const fitting = Math.floor(bodiesSizeMax / (body.length - bodyFreeSize))
  try {
    const answers = Array.from({ length: fitting }, () => serving.ask('POST', '/v1/txn', { body }))
    while (begun < fitting) await serving.askLocally('GET', '/healthz')
    const refused = await serving.ask('POST', '/v1/txn', { body })
    expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': '1' } })
    first.resolve()
    for (const { status } of await Promise.all(answers)) expect(status).toBe(200)
    expect((await serving.ask('POST', '/v1/txn', { body })).status).toBe(200)
  } finally {
    store.commit = commit
  }
})

it('a body counts as long as the work on it goes on, though its client has gone', async () => {
  await using few = await Serving.start()
  const commit = few.store.commit.bind(few.store)
  const over = deferred<void>()
  let begun = 0
  few.store.commit = async (...args) => {
    begun++
    await over.promise
    return commit(...args)
  }
  const text = '{"ops":[{"op":"put","key":"a","value":"x"}]}'
  const body = text + ' '.repeat(bodySizeMax - text.length)
  const head = ['POST /v1/txn HTTP/1.1', 'Host: x', `Content-Length: ${body.length}`]
  const fitting = Math.floor(bodiesSizeMax / body.length)
  const send = async () => {
    const raw = await Raw.overSocket(few)
    raw.send(head, body)
    return raw
  }
  for (let n = 0; n < fitting; n++) {
    await using raw = await send()
    await expect.poll(() => begun).toBe(n + 1)
    raw.socket.destroy()
  }
  // All of them have gone.
  await expect.poll(async () => (await few.ask('GET', '/v1/root')).status).toBe(200)
  {
    await using refused = await send()
    expect(await refused.until(/\r\n\r\n\{.*\}$/s)).toMatch(/^HTTP\/1\.1 503 /)
  }
  over.resolve()
  await expect
    .poll(async () => {
      await using raw = await send()
      return await raw.until(/\r\n\r\n\{.*\}$/s)
    })
    .toMatch(/^HTTP\/1\.1 200 /)
})

it('what a body took is given back', () => {
  const budget = new BodyBudget(() => 0)
  for (let n = 0; n < 10; n++) {
    using share = budget.begin()
    share.add(bodyFreeSize)
    share.add(bodiesSizeMax)
    using other = budget.begin()
    other.add(bodyFreeSize)
    expect(() => other.add(1)).toThrow(expect.objectContaining({ code: 'EBUSY' }))
  }
})

it('a body waits until others give memory back, and so many may wait', async () => {
  const budget = new BodyBudget(() => 0)
  const first = budget.begin()
  first.add(bodyFreeSize + bodiesSizeMax)
  const waiting = Array.from({ length: roomWaitersMax }, () => budget.begin())
  const taking = waiting.map((share) => share.addSoon(bodyFreeSize + 1_000))
  const beyond = budget.begin().addSoon(bodyFreeSize + 1)
  await expect(beyond).rejects.toMatchObject({ code: 'EBUSY' })
  first.end()
  await Promise.all(taking)
  expect(waiting.map(({ taken }) => taken)).toEqual(waiting.map(() => 1_000))
})

it('a body without memory waits behind others, and one that has some does not', async () => {
  const budget = new BodyBudget(() => 0)
  const [first, second, third, fourth] = Array.from({ length: 4 }, () => budget.begin())
  first?.add(bodyFreeSize + bodiesSizeMax - 3_000)
  second?.add(bodyFreeSize + 1_000)
  const order: string[] = []
  const take = async (name: string, share: typeof first, size: number) => {
    await share?.addSoon(size)
    order.push(name)
  }
  const thirdTaken = take('third', third, bodyFreeSize + 10_000)
  const fourthTaken = take('fourth', fourth, bodyFreeSize + 1_000)
  await take('second', second, 1_000)
  expect(order).toEqual(['second'])
  first?.end()
  await Promise.all([thirdTaken, fourthTaken])
  expect(order).toEqual(['second', 'third', 'fourth'])
})

it('of bodies that have all the memory and need more, the last one is refused at once', async () => {
  const budget = new BodyBudget(() => 0)
  const third = bodiesSizeMax / 3
  const shares = Array.from({ length: 3 }, () => budget.begin())
  for (const share of shares) share.add(bodyFreeSize + third)
  const taking = shares.map((share) => share.addSoon(third / 2))
  const last = taking.pop()
  await expect(last).rejects.toMatchObject({ code: 'EBUSY' })
  shares.pop()?.end()
  await Promise.all(taking)
})

it('a body whose request ends while it waits for memory takes none', async () => {
  const budget = new BodyBudget(() => 0)
  const first = budget.begin()
  first.add(bodyFreeSize + bodiesSizeMax)
  const gone = budget.begin()
  const taking = gone.addSoon(bodyFreeSize + bodiesSizeMax)
  gone.end()
  first.end()
  await taking
  budget.begin().add(bodyFreeSize + bodiesSizeMax)
})

it('a body waits until another one has stalled, whose memory it gets; if none does, it is refused', async () => {
  const budget = new BodyBudget(systemEnvironment.monotonic)
  const given: string[] = []
  const first = budget.begin()
  first.add(bodyFreeSize + bodiesSizeMax)
  const refused = budget.begin().addSoon(bodyFreeSize + bodiesSizeMax)
  await expect(refused).rejects.toMatchObject({ code: 'EBUSY' })
  const [second, third] = [budget.begin(), budget.begin()]
  first.end()
  second.add(bodyFreeSize + bodiesSizeMax)
  second.whileWaiting(() => given.push('second'))
  await third.addSoon(bodyFreeSize + bodiesSizeMax)
  expect(given).toEqual(['second'])
})

it('bodies that stand still make room for those that move', async () => {
  let now = 0
  await using few = await Serving.start({
    environment: { ...systemEnvironment, monotonic: () => now },
  })
  const open: (Raw | Peer)[] = []
  const read = ['POST /v1/txn HTTP/1.1', 'Host: x', `Content-Length: ${bodySizeMax}`]
  const streamed = ['PUT /v1/kv/streamed HTTP/1.1', 'Host: x', `Content-Length: ${bodySizeMax}`]
  const start = async (head: readonly string[]) => {
    const raw = await Raw.overSocket(few)
    open.push(raw)
    raw.send(head, ' '.repeat(bodySizeMax - 1))
    // Until the server has read it, or has refused it.
    await Promise.race([once(raw.socket, 'drain'), raw.until(/\r\n\r\n\{.*\}$/s)])
    return raw
  }
  try {
    const whole = await start(read)
    const stream = await start(streamed)
    const message = await Peer.connect(few)
    open.push(message)
    message.socket.send(Buffer.alloc(bodySizeMax, ' '), { fin: false })
    // More of it than is free has come.
    for (let n = 0; n < 50; n++) await few.askLocally('GET', '/healthz')
    now += evictedMs
    const waits = () => [whole.text, stream.text, message.closeCode ?? ''].includes('')
    // Each takes as much as may wait of a body; those that find no room are refused.
    while (waits()) await start(read)
    for (const { text } of [whole, stream]) expect(refusalIn(text)).toBe('408 ETIMEDOUT')
    expect(message.closeCode).toBe(1013)
  } finally {
    for (const each of open) await each[Symbol.asyncDispose]()
  }
})

it('the largest body makes room for one that has less than half of its size', () => {
  const budget = new BodyBudget(() => 0)
  const given: string[] = []
  const begin = (name: string, size: number) => {
    const share = budget.begin()
    share.add(bodyFreeSize + size)
    share.whileWaiting(() => given.push(name))
    return share
  }
  const large = Math.floor(bodiesSizeMax / 3)
  begin('first', large - 1)
  begin('second', large + 1)
  const third = begin('third', large)
  const half = Math.floor((large + 1) / 2)
  expect(() => begin('half', half + 1)).toThrow(expect.objectContaining({ code: 'EBUSY' }))
  expect(given).toEqual([])
  const small = begin('small', half)
  expect(given).toEqual(['second'])
  // Those that are whole wait for nothing, and keep what they have.
  third.whileWaiting(undefined)
  small.whileWaiting(undefined)
  begin('fourth', bodiesSizeMax - 2 * large - half + 1)
  expect(() => begin('fifth', large)).toThrow(expect.objectContaining({ code: 'EBUSY' }))
  begin('sixth', 1)
  expect(given).toEqual(['second', 'first'])
})

it('the body that stands still for longest makes room, and none that has come just now', () => {
  let now = 0
  const budget = new BodyBudget(() => now)
  const half = bodiesSizeMax / 2 + bodyFreeSize
  const given: string[] = []
  const begin = (name: string) => {
    const share = budget.begin()
    share.add(half)
    share.whileWaiting(() => given.push(name))
    return share
  }
  const first = begin('first')
  now += evictedMs
  begin('second')
  begin('third')
  expect(given).toEqual(['first'])
  // What was given up takes nothing any more, and gives nothing back twice.
  first[Symbol.dispose]()
  expect(() => begin('fourth')).toThrow(expect.objectContaining({ code: 'EBUSY' }))
  now += evictedMs - 1
  expect(() => begin('fifth')).toThrow(expect.objectContaining({ code: 'EBUSY' }))
  now += 1
  const sixth = begin('sixth')
  expect(given).toEqual(['first', 'second'])
  // One that is whole, and waits for nothing, is kept.
  sixth.whileWaiting(undefined)
  begin('seventh')
  expect(given).toEqual(['first', 'second', 'third'])
  now += 2 * evictedMs
  begin('eighth')
  expect(given).toEqual(['first', 'second', 'third', 'seventh'])
})

it('a connection may have few requests where all together have many', async () => {
  await using few = await Serving.start()
  const waiting = ['GET /v1/root?waitSeq=900000000 HTTP/1.1', 'Host: x', '', ''].join('\r\n')
  const open = await Promise.all(
    Array.from({ length: openMax / pipelinedMax }, () => Raw.overSocket(few)),
  )
  try {
    for (const { socket } of open) socket.write(waiting.repeat(pipelinedMax))
    await using beyond = await Raw.overSocket(few)
    const ended = once(beyond.socket, 'close')
    const asking = () => beyond.socket.write(waiting.repeat(crowdedMax + 1))
    // Those before it may not have been read yet.
    for (let turns = 0; turns < 50; turns++) await few.askLocally('GET', '/healthz')
    asking()
    await ended
    expect((await few.ask('GET', '/v1/root')).status).toBe(200)
  } finally {
    for (const raw of open) await raw[Symbol.asyncDispose]()
  }
})

it(`a connection on which more than ${pipelinedMax} requests wait is ended, others go on`, async () => {
  const { seq } = await serving.store.root()
  const request = `GET /v1/root?waitSeq=${seq + 1} HTTP/1.1\r\nHost: x\r\n\r\n`
  await using fitting = await Raw.overSocket(serving)
  fitting.socket.write(request.repeat(pipelinedMax))
  await using beyond = await Raw.overSocket(serving)
  beyond.socket.write(request.repeat(pipelinedMax + 1))
  expect(await beyond.end()).toBe('')
  await serving.store.put('moved', 'x')
  const answers = () => fitting.text.split('HTTP/1.1 200 ').length - 1
  while (answers() < pipelinedMax) await once(fitting.socket, 'data')
  expect(answers()).toBe(pipelinedMax)
})

it('of the requests of one connection one is worked on at a time, in their order', async () => {
  const { seq } = await serving.store.root()
  const watching = serving.store.watchers
  await using raw = await Raw.overSocket(serving)
  raw.send([`GET /v1/root?waitSeq=${seq + 1} HTTP/1.1`, 'Host: x'])
  raw.send(['PUT /v1/kv/behind HTTP/1.1', 'Host: x', 'Content-Length: 1'], 'x')
  const follow = 'GET /v1/kv/never?waitCreate&follow HTTP/1.1\r\nHost: x\r\n\r\n'
  raw.socket.write(follow.repeat(10))
  // The requests above have come by then, and would have begun.
  for (let n = 0; n < 50; n++) await serving.askLocally('GET', '/healthz')
  expect(serving.store.watchers).toBe(watching)
  expect((await serving.ask('GET', '/v1/kv/behind')).status).toBe(404)
  await serving.store.put('moved', 'x')
  await raw.until(/"result":\{/)
  while (serving.store.watchers === watching) await serving.askLocally('GET', '/healthz')
  for (let n = 0; n < 50; n++) await serving.askLocally('GET', '/healthz')
  expect(serving.store.watchers).toBe(watching + 1)
  raw.socket.destroy()
  while (serving.store.watchers > watching) await serving.askLocally('GET', '/healthz')
})

it('requests that wait behind another one of their connection end with it', async () => {
  const watching = serving.store.watchers
  await using raw = await Raw.overSocket(serving)
  const request = 'GET /v1/kv/never?waitCreate&follow HTTP/1.1\r\nHost: x\r\n\r\n'
  raw.socket.write(request.repeat(10))
  while (serving.store.watchers === watching) await serving.askLocally('GET', '/healthz')
  raw.socket.destroy()
  while (serving.store.watchers > watching) await serving.askLocally('GET', '/healthz')
})

it('pages of the history are made a few at a time, and none for a client that has gone', async () => {
  const { history } = serving.store
  const begun: AbortSignal[] = []
  const first = deferred<void>()
  const walk = history.log
  history.log = async (key, options) => {
    if (options?.signal) begun.push(options.signal)
    await first.promise
    return walk.call(history, key, options)
  }
  try {
    const gone = await Promise.all(
      Array.from({ length: 3 * walksMax }, () => Raw.overSocket(serving)),
    )
    for (const raw of gone) raw.send(['GET /v1/log/some HTTP/1.1', 'Host: x'])
    await using last = await Raw.overSocket(serving)
    last.send(['GET /v1/log/some HTTP/1.1', 'Host: x'])
    for (let n = 0; n < 50; n++) await serving.askLocally('GET', '/healthz')
    expect(begun.length).toBe(walksMax)
    for (const raw of gone) raw.socket.destroy()
    while (!begun.every(({ aborted }) => aborted)) await serving.askLocally('GET', '/healthz')
    first.resolve()
    await last.until(/"entries":/)
    expect(begun.length).toBe(walksMax + 1)
  } finally {
    history.log = walk
  }
})

it('messages that are not whole yet have the memory of bodies, and what they took is given back', async () => {
  const part = Buffer.alloc(bodySizeMax, ' ')
  const fitting = Math.floor(bodiesSizeMax / part.length)
  const peers: Peer[] = []
  try {
    for (let n = 0; n < fitting + 1; n++) {
      const peer = await Peer.connect(serving)
      peers.push(peer)
      peer.socket.send(part, { fin: false })
    }
    const refused = await Promise.race(peers.map((peer) => peer.next()))
    expect(refused).toMatchObject({ id: 0, type: 'error', code: 'EBUSY' })
    const code = await Promise.race(peers.map((peer) => peer.closed()))
    expect(code).toBe(1013)
    await using small = await Peer.connect(serving)
    small.send({ id: 1, op: 'root', body: {} })
    expect(await small.next()).toMatchObject({ id: 1, type: 'result' })
  } finally {
    for (const peer of peers) await peer[Symbol.asyncDispose]()
  }
  await using peer = await Peer.connect(serving)
  for (let n = 0; n < fitting + 1; n++) {
    peer.socket.send(part, { fin: false })
    peer.socket.send('', { fin: true })
    expect(await peer.next()).toMatchObject({ id: 0, type: 'error', code: 'EINVAL' })
  }
})

it('connections have a bound: one more ends the one on which nothing happened for longest', async () => {
  await using few = await Serving.start({ connectionsMax: 5 })
  const silent = await Raw.overTcp(few)
  const asking = await Raw.overTcp(few)
  const request = ['GET /healthz HTTP/1.1', 'Host: 127.0.0.1']
  await using websocket = await Peer.connect(few)
  const others = [await Raw.overTcp(few), await Raw.overTcp(few)]
  await asking.send(request).until(/HTTP.1.1 200/)
  await using more = await Raw.overTcp(few)
  await more.send(request).until(/HTTP.1.1 200/)
  expect(await silent.end()).toBe('')
  await using another = await Raw.overTcp(few)
  await another.send(request).until(/HTTP.1.1 200/)
  // Those that were silent went before the one that had asked.
  expect(await Promise.race(others.map((raw) => raw.end()))).toBe('')
  expect(asking.socket.closed).toBe(false)
  websocket.send({ id: 1, op: 'root', body: {} })
  expect(await websocket.next()).toMatchObject({ id: 1, type: 'result' })
  expect((await few.askLocally('GET', '/healthz')).status).toBe(200)
  for (const raw of [asking, ...others]) raw.socket.destroy()
})
