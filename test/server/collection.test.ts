/** `/v1/gc` and `/v1/forget` over a socket: progress, refusals, and what ends with what (rfc/12, rfc/14). */

import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Serving } from './serving.js'

let serving: Serving
beforeEach(async () => {
  serving = await Serving.start()
})
afterEach(() => serving[Symbol.asyncDispose]())

const json = { 'content-type': 'application/json' }
const ask = (path: string, body: unknown, headers = {}) =>
  serving.ask('POST', path, { headers: { ...json, ...headers }, body: JSON.stringify(body) })

it('a collection tells how far it is, in lines, where it is asked to', async () => {
  for (let i = 0; i < 30; i++) await serving.store.put(`k${i}`, Buffer.alloc(200_000, `${i} `))
  const { headers, body } = await ask('/v1/gc', {}, { accept: 'application/x-ndjson' })
  expect(headers['content-type']).toBe('application/x-ndjson')
  const lines = body.toString().trimEnd().split('\n')
  const said = lines.map((line) => JSON.parse(line))
  expect(said.length).toBeGreaterThan(1)
  expect(said.slice(0, -1).every((line) => Object.keys(line).join() === 'progress')).toBe(true)
  expect(said.at(-1).collected).toMatchObject({ dryRun: false, steps: expect.any(Number) })
})

it('one that is under way is EBUSY, with its status, in lines too; bad bodies are EINVAL', async () => {
  const collecting = serving.store.upkeep.collect()
  for (const headers of [{}, { accept: 'application/x-ndjson' }]) {
    const refused = await ask('/v1/gc', {}, headers)
    if (!serving.store.collecting) break // it was faster
    expect(refused).toMatchObject({ status: 503, json: { error: { code: 'EBUSY' } } })
  }
  await collecting
  for (const body of [{ dry: true }, { dryRun: 1 }, [], 'x']) {
    expect((await ask('/v1/gc', body)).status).toBe(400)
  }
  for (const body of [{}, { key: 1 }, { key: 'k', at: 1 }, { key: '/' }]) {
    expect((await ask('/v1/forget', body)).status).toBe(400)
  }
  expect((await ask('/v1/forget?ns=system', { key: 'k' })).status).toBe(403)
  expect((await ask('/v1/gc?x=1', {})).status).toBe(400)
})

it('a server that stops ends a collection, which the store then goes on with', async () => {
  for (let i = 0; i < 60; i++) await serving.store.put(`k${i}`, Buffer.alloc(250_000, `${i} `))
  const asked = ask('/v1/gc', {}).catch((error: unknown) => error)
  // Looked at in each turn of the event loop: a collection takes many, but may be over in a moment.
  while (!serving.store.collecting) await setImmediate()
  await serving.server.stop()
  await asked
  expect(serving.store.collecting).toBe(false)
  expect((await serving.store.get('k59'))?.length).toBe(250_000)
})
