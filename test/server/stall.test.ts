/** No single request keeps the event loop from the others for long: rfc/12, rule 33. The part of a log of tiny
 *  blobs and the event stream stopped it for longer than the bound before they let the loop turn; the others guard
 *  what is near it. */

import { once } from 'node:events'
import { request } from 'node:http'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { appendEvents, encodeEvent } from '../../src/eventlog/eventlog.js'
import { Stalling } from './stall.js'

/** A blob of the smallest events. */
const tinyEvent = encodeEvent({ timestamp: 1, name: 'a' })
const blobEvents = Math.floor(262_120 / tinyEvent.length)
const opsMax = 4_096
/** So many that the value is still one answer with a length: rfc/12 streams what is larger than a blob. */
const lineCommits = 25

let serving: Stalling

beforeAll(async () => {
  serving = await Stalling.start(async (store) => {
    await store.put('small', 'x')
    const blob = Buffer.concat(Array.from({ length: blobEvents }, () => tinyEvent))
    await store.append('events', blob)
    const event = { timestamp: 1, name: 'end' }
    await appendEvents(store, 'events', [event], { seal: true })
    const append = { op: 'append' as const, key: 'lines', value: 'x\n' }
    for (let n = 0; n < lineCommits; n++) await store.commit({ ops: Array(opsMax).fill(append) })
    const long = (n: number) => `wide/${String(n).padStart(250, 'k')}`
    for (let n = 0; n < 3 * opsMax; n += opsMax) {
      const put = (_: unknown, at: number) => ({
        op: 'put' as const,
        key: long(n + at),
        value: 'x',
      })
      await store.commit({ ops: Array.from({ length: opsMax }, put) })
    }
  })
})
afterAll(() => serving?.[Symbol.asyncDispose]())

it.each([
  ['a small value', '/v1/kv/small', 1],
  ['a blob of 65,000 events', '/v1/eventlog/events', blobEvents * 20],
  ['a part of a log of tiny blobs', '/v1/kv/lines', lineCommits * opsMax * 2],
  ['a page of 10,000 names', '/v1/list/wide?limit=10000', 10_000 * 250],
  ['a page of 10,000 differences', '/v1/diff?from=0&limit=10000&prefix=wide', 10_000 * 250],
  ['an export', '/v1/export', 3 * opsMax * 250],
])('GET of %s is no stall', async (_, path, sizeMin) => {
  await serving.expectNoStall(async () => {
    const { status, size } = await serving.ask('GET', path)
    expect(status).toBe(200)
    expect(size).toBeGreaterThanOrEqual(sizeMin)
  })
})

it('an event stream of a blob of 65,000 events is no stall', async () => {
  const headers = { host: 'any', accept: 'text/event-stream' }
  await serving.expectNoStall(async () => {
    const path = '/v1/eventlog/events?follow=true'
    const asked = request({ socketPath: serving.socket, path, headers })
    asked.end()
    const [response] = await once(asked, 'response')
    let last = ''
    for await (const chunk of response) last = (last + chunk.toString('latin1')).slice(-200)
    expect(last).toContain('"reason":"sealed"')
  })
})
