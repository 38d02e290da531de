/** No client's deliveries stop the others: rfc/12, rules 11, 13 and 22. */

import { once } from 'node:events'
import { connect } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { requestCost } from '../../src/server/inbox.js'
import { backlogFramesMax, backlogSize } from '../../src/server/outbox.js'
import { batchSize, deliveryCost, Pace, type Share, turnSize } from '../../src/server/pace.js'
import { requestCost as httpCost } from '../../src/server/pipeline.js'
import { creditMax, pingMs } from '../../src/wire/frames.js'
import { Peer } from './peer.js'
import { Serving } from './serving.js'

afterEach(() => {
  vi.useRealTimers()
})

/** Returns how many of 200 new clients, each with a batch, go on before a share that waits with them. */
async function newOnesBefore(pace: Pace, share: Share): Promise<number> {
  const order: Share[] = []
  const deliver = async (each: Share) => {
    await each.take()
    order.push(each)
    each.spend(batchSize)
  }
  const news = Array.from({ length: 200 }, () => deliver(pace.share()))
  await Promise.all([...news, deliver(share)])
  return order.indexOf(share)
}

describe('the pace', () => {
  it('gives a turn to a bounded number of deliveries, then to the event loop', async () => {
    const pace = new Pace()
    let made = 0
    let over = false
    const deliver = async () => {
      const share = pace.share()
      while (!over) {
        await share.take()
        if (over) return
        share.spend(0)
        made++
      }
    }
    const all = Promise.all(Array.from({ length: 100 }, deliver))
    const turns: number[] = []
    for (let turn = 0; turn < 50; turn++) {
      await nextTurn()
      turns.push(made)
      made = 0
    }
    over = true
    await all
    expect(Math.max(...turns)).toBeLessThanOrEqual((2 * turnSize) / deliveryCost)
    expect(turns.filter((count) => count > 0).length).toBeGreaterThan(40)
  })

  it('lets a client that is sent little go on before one that is sent much', async () => {
    const pace = new Pace()
    pace.share().spend(turnSize)
    const order: string[] = []
    const deliver = async (name: string, times: number) => {
      const share = pace.share()
      for (let n = 0; n < times; n++) {
        await share.take()
        order.push(name)
        share.spend(turnSize)
      }
    }
    await Promise.all([deliver('much', 100), deliver('little', 1)])
    expect(order.indexOf('little')).toBeLessThan(5)
  })

  it('lets a connection of small events go before new ones, however many come', async () => {
    const pace = new Pace()
    const small = pace.share()
    await small.take()
    small.spend(10)
    for (let turn = 0; turn < 3; turn++) {
      await nextTurn()
      pace.share().spend(turnSize)
    }
    expect(await newOnesBefore(pace, small)).toBe(0)
  })

  it('counts a client by what it is sent between two rests, however long the turns are', async () => {
    const pace = new Pace()
    const brief = pace.share()
    // Something in each turn, together more than a batch.
    for (let event = 0; event < batchSize / 100; event++) {
      await brief.take()
      brief.spend(10)
      brief.rest()
      if (event % 4 === 0) await nextTurn()
    }
    pace.share().spend(turnSize)
    expect(await newOnesBefore(pace, brief)).toBe(0)
  })

  it.each([
    ['and nothing meanwhile', false],
    ['and heartbeats meanwhile', true],
  ])(
    'lets a client of small events go before readers of old data, though they get little at a time %s',
    async (_, withHeartbeats) => {
      const pace = new Pace()
      let made = 0
      let over = false
      const read = async (share: Share) => {
        while (!over) {
          await share.take()
          share.spend(100)
          made++
          // The turn has room for no more.
          pace.share().spend(turnSize)
        }
      }
      const shares = Array.from({ length: 50 }, () => pace.share())
      const readers = shares.map(read)
      const brief = pace.share()
      const before: number[] = []
      for (let event = 0; event < 40; event++) {
        // They come at every place of a round of the readers, and not in each turn.
        for (let turn = 0; turn < 7; turn++) await nextTurn()
        if (withHeartbeats) for (const share of shares) share.spend(20)
        const start = made
        await brief.take()
        before.push(made - start)
        for (let watch = 0; watch < 3; watch++) brief.spend(10)
        brief.rest()
      }
      over = true
      await Promise.all(readers)
      // A tenth of a round of the readers: its three events cost a tenth of what a reader counts at first.
      expect(Math.max(...before.slice(10))).toBeLessThanOrEqual(5)
    },
  )

  it('lets those who wait go on in the order of waiting, each with a batch', async () => {
    const pace = new Pace()
    pace.share().spend(turnSize)
    const order: number[] = []
    const deliver = async (index: number) => {
      const share = pace.share()
      for (let n = 0; n < (2 * batchSize) / deliveryCost; n++) {
        await share.take()
        share.spend(0)
        order.push(index)
      }
    }
    await Promise.all(Array.from({ length: 40 }, (_, index) => deliver(index)))
    // Everybody had a batch before anybody had a second.
    const batch = batchSize / deliveryCost
    const seconds = order.map((index, at) => order.slice(0, at).filter((i) => i === index).length)
    const first = seconds.indexOf(batch)
    const had = new Set(order.slice(0, first))
    expect(had.size).toBe(40)
  })

  it('asks nobody to wait who is alone', async () => {
    const turnsMade = async () => {
      const share = new Pace().share()
      let turned = false
      setImmediate(() => {
        turned = true
      })
      for (let n = 0; n < 100; n++) {
        await share.take()
        share.spend(0)
      }
      return turned
    }
    // A turn ends after a time, too, which a busy machine may take for any one try.
    const tries: boolean[] = []
    for (let n = 0; n < 5; n++) tries.push(await turnsMade())
    expect(tries).toContain(false)
  })
})

describe('a server', () => {
  it('looks at its sockets again and again while it delivers what is in memory', async () => {
    await using serving = await Serving.start()
    const appends = 1_000
    const ops = Array.from({ length: appends }, () => ({
      op: 'append' as const,
      key: 'log',
      value: 'a line of some length, as logs have them\n',
    }))
    await serving.store.commit({ ops })
    const watchers = await Promise.all(Array.from({ length: 30 }, () => Peer.connect(serving)))
    const watch = { id: 1, op: 'watch', key: 'log', mode: 'append', credit: creditMax }
    let turns = 0
    let over = false
    const count = () => {
      turns++
      if (!over) setImmediate(count)
    }
    count()
    for (const peer of watchers) peer.send(watch)
    for (const peer of watchers) {
      await peer.until((frame) => frame.type === 'append' && frame.index === appends - 1)
    }
    over = true
    // Without a bound it takes some 30 turns: as many as the clients need to read it.
    expect(turns).toBeGreaterThan((0.9 * watchers.length * appends * deliveryCost) / turnSize)
    for (const peer of watchers) await peer[Symbol.asyncDispose]()
  })

  it('handles a bounded number of requests between two looks at its sockets', async () => {
    await using serving = await Serving.start()
    using roots = countRoots(serving)
    await using peer = await Peer.connect(serving)
    const requests = 5_000
    const frames = Array.from({ length: requests }, (_, n) => ({ id: n + 1, op: 'root', body: {} }))
    for (const frame of frames) peer.send(frame)
    const ids = new Set<number>()
    while (ids.size < requests) ids.add((await peer.next()).id)
    // A turn of the pace may lie in two of those that are counted here, and its last batch goes beyond it. Without
    // a bound it is all that one read of the socket brings, some 2,000.
    expect(roots.most).toBeLessThanOrEqual((3 * turnSize) / requestCost)
  })

  it('begins a bounded number of requests over HTTP between two looks at its sockets', async () => {
    await using serving = await Serving.start()
    using roots = countRoots(serving)
    const connections = 200
    const sockets = Array.from({ length: connections }, () => connect(serving.server.socket))
    const ask = () => {
      const answers = sockets.map((socket) => once(socket, 'data'))
      for (const socket of sockets) socket.write('GET /v1/root HTTP/1.1\r\nHost: x\r\n\r\n')
      return Promise.all(answers)
    }
    // The first ones come as the server accepts the connections. The second ones are all there when the loop looks
    // at its sockets.
    await ask()
    roots.most = 0
    await ask()
    for (const socket of sockets) socket.destroy()
    expect(roots.begun).toBe(2 * connections)
    // Without a bound one look begins those of most sockets.
    expect(roots.most).toBeLessThanOrEqual((3 * turnSize) / httpCost)
  })

  it('holds a bounded number of frames for a client that reads nothing', async () => {
    await using serving = await Serving.start()
    const ops = Array.from({ length: 4_000 }, () => ({
      op: 'append' as const,
      key: 'log',
      value: 'x',
    }))
    for (let n = 0; n < 10; n++) await serving.store.commit({ ops })
    await using peer = await Peer.connect(serving)
    await using other = await Peer.connect(serving)
    peer.socket.pause()
    peer.send({ id: 1, op: 'watch', key: 'log', mode: 'append', credit: creditMax })
    await serving.store.append('log', 'x')
    let before = -1
    // Its backlog grows no more when the kernel's buffers are full and the bound is met.
    for (let same = 0; same < 50; ) {
      other.send({ id: 2, op: 'root' })
      await other.until((frame) => frame.id === 2)
      const { backlog } = await status(serving)
      same = backlog === before && backlog > 0 ? same + 1 : 0
      before = backlog
    }
    expect(before).toBeLessThan(2 * backlogFramesMax * 250)
    peer.socket.resume()
    await peer.until((frame) => frame.type === 'append' && frame.index === 40_000)
  })

  it('holds no more for a client that reads nothing when it has many watches', async () => {
    await using serving = await Serving.start()
    await serving.ask('PUT', '/v1/kv/large', { body: Buffer.alloc(16 * 1024 * 1024) })
    await using peer = await Peer.connect(serving)
    await using other = await Peer.connect(serving)
    peer.socket.pause()
    for (let id = 1; id <= 40; id++) {
      peer.send({ id, op: 'watch', key: 'large', mode: 'append', credit: creditMax })
    }
    let before = -1
    let most = 0
    for (let same = 0; same < 50; ) {
      other.send({ id: 2, op: 'root' })
      await other.until((frame) => frame.id === 2)
      const { backlog } = await status(serving)
      same = backlog === before && backlog > 0 ? same + 1 : 0
      before = backlog
      most = Math.max(most, backlog)
    }
    expect(most).toBeLessThan(backlogSize + 2 * blobSizeMax)
  })

  it('that stood still judges no client by what it could not hear', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    let monotonic = 0
    const environment = { ...systemEnvironment, monotonic: () => monotonic }
    await using serving = await Serving.start({ environment })
    await using peer = await Peer.connect(serving)
    await using lively = await Peer.connect(serving)
    const ping = async (afterMs: number) => {
      monotonic += afterMs
      vi.advanceTimersByTime(pingMs)
      await nextTurn()
      lively.send({ id: 1, op: 'root' })
      await lively.until((frame) => frame.type === 'result')
    }
    peer.socket.pause()
    await ping(pingMs)
    await ping(10 * pingMs)
    peer.socket.resume()
    peer.send({ id: 1, op: 'root' })
    await peer.until((frame) => frame.type === 'result')
    expect(peer.closeCode).toBeUndefined()
  })
})

async function status(serving: Serving): Promise<{ readonly backlog: number }> {
  const answer = await serving.ask('GET', '/v1/status')
  return answer.json as { readonly backlog: number }
}

/** Counts the requests for the root: all, and the most of one turn of the event loop. */
function countRoots(serving: Serving): Disposable & { readonly begun: number; most: number } {
  const root = serving.store.root.bind(serving.store)
  const counted = { begun: 0, most: 0, [Symbol.dispose]: () => clearImmediate(next) }
  let inTurn = 0
  serving.store.root = (options) => {
    counted.begun++
    counted.most = Math.max(counted.most, ++inTurn)
    return root(options)
  }
  const turn = () => {
    inTurn = 0
    next = setImmediate(turn)
  }
  let next = setImmediate(turn)
  return counted
}
