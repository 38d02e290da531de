/** `/v1/eventlog` and `/v1/jobs` over HTTP. */

import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { JobView } from '../../src/api/job.js'
import { readStream } from '../../src/eventlog/read-stream.js'
import { expectError, Serving } from './serving.js'

let serving: Serving
const ref = expect.stringMatching(/^blake3-[0-9a-f]{64}$/)

beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(() => serving[Symbol.asyncDispose]())

describe('eventlog', () => {
  const post = (key: string, body: string) => serving.ask('POST', `/v1/eventlog/${key}`, { body })
  const lines = (body: Buffer) =>
    body
      .toString()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line))

  it('refuses a number that would come back as another, by its line, and appends nothing', async () => {
    const context = '{"id":\n9007199254740993}'
    for (const body of [
      `{"name":"a"}\n{"name":"b","context":${context.replace('\n', '')}}`,
      `{\n"name":"a","context":${context}}`,
      '{"name":"a","context":{"id":1,"id":2}}',
    ]) {
      expectError(await post('numbers', body), 400, 'EINVAL', /9007199254740993|"id" twice/)
    }
    expect((await serving.ask('GET', '/v1/kv/numbers')).status).toBe(404)
  })

  it('is capped by parameters, that of bytes alone too', async () => {
    const kept = async () => {
      const stat = await serving.ask('GET', '/v1/stat/capped')
      const { count, base, cap } = stat.json as {
        count: number
        base?: { count: number }
        cap?: object
      }
      return [count, base?.count, cap]
    }
    for (const query of ['?keep=2', '', '']) await post(`capped${query}`, '{"name":"a"}')
    expect(await kept()).toEqual([3, 1, { keep: 2 }])
    const body = 'bytes'
    const bounds = '?keepBytes=5&keepAge=60000'
    await serving.ask('POST', `/v1/kv/capped${bounds}`, { body })
    expect(await kept()).toEqual([4, 3, { keepBytes: 5, keepAge: 60_000 }])
    await serving.ask('POST', '/v1/kv/capped?uncap', { body })
    expect(await kept()).toEqual([5, 3, undefined])
    for (const wrong of ['?keep=1&uncap', '?keep=0', '?keep=x']) {
      expectError(await serving.ask('POST', `/v1/kv/capped${wrong}`, { body }), 400, 'EINVAL')
    }
  })

  it('takes one event or many as one append, and gives them back as lines', async () => {
    const first = await post('deploy', '{\n "name": "start",\n "timestamp": 1.5\n}')
    expect(first.json).toEqual({ seq: expect.any(Number), ref, result: { index: 0, count: 1 } })
    const context = { bytes: { base64: '/w==' }, text: 'é', nested: [null, { a: 1.5 }] }
    const body = `${JSON.stringify({ name: 'a', timestamp: 2, context })}\n\n{"name":"b"}\n`
    expect((await post('deploy?seal', body)).json).toMatchObject({ result: { index: 1, count: 2 } })
    const answer = await serving.ask('GET', '/v1/eventlog/deploy')
    expect(answer.headers['content-type']).toBe('application/x-ndjson')
    expect(lines(answer.body)).toEqual([
      { timestamp: 1.5, name: 'start' },
      { timestamp: 2, name: 'a', context },
      { timestamp: expect.any(Number), name: 'b' },
    ])
    const followed = await serving.ask('GET', '/v1/eventlog/deploy?follow')
    expect(followed.body).toEqual(answer.body)
  })

  it('follows until the event that is waited for', async () => {
    const waiting = serving.ask('GET', '/v1/eventlog/later?waitCreate&waitEvent=ready')
    await post('later', '{"name":"start","timestamp":1}')
    await post('later', '{"name":"ready","timestamp":2}\n{"name":"more","timestamp":3}')
    expect(lines((await waiting).body).map(({ name }) => name)).toEqual(['start', 'ready'])
  })

  it('answers its errors', async () => {
    for (const body of ['', '{', '5', '{"name":1}', '{"name":"a","x":1}', '{"name":"a"}\nx']) {
      expectError(await post('wrong', body), 400, 'EINVAL')
    }
    expectError(await serving.ask('GET', '/v1/eventlog/nothing'), 404, 'ENOENT')
    expectError(await serving.ask('GET', '/v1/eventlog/nothing?follow'), 404, 'ENOENT')
    expectError(await serving.ask('GET', '/v1/eventlog/deploy?at=1&follow'), 400, 'EINVAL')
    expectError(await post('deploy', '{"name":"a"}'), 409, 'ESEALED')
    expectError(await post('a?ns=jobs', '{"name":"a"}'), 403, 'EPERM')
    await serving.store.put('plain', 'no events')
    await serving.store.put('odd', Buffer.of(0xc1, 0xff))
    const event = { accept: 'text/event-stream' }
    for (const key of ['plain', 'odd']) {
      for (const how of ['', '?follow', '?waitEvent=a']) {
        const path = `/v1/eventlog/${key}${how}`
        expectError(await serving.ask('GET', path), 400, 'EINVAL', /no eventlog.*\/v1\/kv/)
      }
      const followed = await serving.ask('GET', `/v1/eventlog/${key}?follow`, { headers: event })
      expectError(followed, 400, 'EINVAL', /no eventlog/)
    }
    expect(serving.log).toEqual([])
  })
})

describe('jobs', () => {
  const submit = async (command: readonly string[], more: object = {}): Promise<JobView> => {
    const body = JSON.stringify({ command, cwd: '/', env: { PATH: process.env['PATH'] }, ...more })
    const answer = await serving.ask('POST', '/v1/jobs', { body })
    expect(answer.status).toBe(201)
    return answer.json as JobView
  }

  it('run, and are shown, listed, waited for, read', async () => {
    const job = await submit(['sh', '-c', 'printf out; printf err >&2; exit 3'])
    expect(job).toMatchObject({
      id: expect.any(String),
      command: ['sh', '-c', expect.any(String)],
      cwd: '/',
    })
    const done = (await serving.ask('GET', `/v1/jobs/${job.id}?wait=true`)).json
    expect(done).toMatchObject({ id: job.id, state: 'finished', status: 3 })
    expect((await serving.ask('GET', `/v1/jobs/${job.id}`)).json).toEqual(done)
    expect((await serving.ask('GET', '/v1/jobs?limit=1')).json).toMatchObject({ jobs: [done] })
    const read = async (query: string) =>
      (await serving.ask('GET', `/v1/jobs/${job.id}/output${query}`)).body.toString()
    expect(await read('')).toBe('out')
    expect(await read('?stream=stderr')).toBe('err')
    expect(await read('?follow&from=1')).toBe('ut')
    const events = await serving.ask('GET', `/v1/jobs/${job.id}/events?follow`)
    expect(events.headers['content-type']).toBe('application/x-ndjson')
    const names = events.body
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).name)
    expect([names[0], names.at(-1)]).toEqual(['submit', 'finish'])
  })

  it('show a part of their output: from its end, by lines, by time, by Range', async () => {
    const job = await submit(['sh', '-c', 'seq 100000'])
    await serving.store.jobs.wait(job.id)
    const whole = Array.from({ length: 100_000 }, (_, n) => `${n + 1}\n`).join('')
    const path = `/v1/jobs/${job.id}/output`
    const read = async (query: string) => (await serving.ask('GET', path + query)).body.toString()
    expect(await read('?from=-7')).toBe('100000\n')
    expect(await read('?from=-7&follow')).toBe('100000\n')
    expect(await read('?lines=2')).toBe('99999\n100000\n')
    expect(await read(`?since=${job.submitted - 1}`)).toBe(whole)
    expect(await read('?since=99999999999999')).toBe('')
    const part = (range: string, query = '') =>
      serving.ask('GET', path + query, { headers: { range } })
    for (const [range, from, to] of [
      ['bytes=0-3', 0, 4],
      ['bytes=-7', whole.length - 7, whole.length],
      ['bytes=300000-', 300_000, whole.length],
      ['bytes=100000-400000', 100_000, 400_001],
    ] as const) {
      const answer = await part(range)
      expect(answer.status).toBe(206)
      expect(answer.body.toString()).toBe(whole.slice(from, to))
      const extent = `bytes ${from}-${to - 1}/${whole.length}`
      expect(answer.headers['content-range']).toBe(extent)
    }
    const behind = await part(`bytes=${whole.length}-`)
    expectError(behind, 416, 'EINVAL')
    expect(behind.headers['content-range']).toBe(`bytes */${whole.length}`)
    expectError(await part('bytes=0-3', '?follow'), 400, 'EINVAL')
    expect((await part('lines=1-2')).status).toBe(200)
  })

  it('take their options, and another size of their terminal, or say what is wrong', async () => {
    const pty = { columns: 90, rows: 20 }
    const script = 'trap "stty size; exit" WINCH; echo ready; while :; do sleep 0.05; done'
    const job = await submit(['sh', '-c', script], { pty, name: 'wide', timeLimitMs: 60_000 })
    expect(job.name).toBe('wide')
    for await (const _ of readStream(serving.store, job.id, 'stdout', { follow: true })) break
    const resize = (id: string, size: unknown) =>
      serving.ask('POST', `/v1/jobs/${id}/resize`, { body: JSON.stringify(size) })
    expectError(await resize(job.id, { columns: 0, rows: 20 }), 400, 'EINVAL')
    expectError(await resize(job.id, { ...pty, depth: 3 }), 400, 'EINVAL')
    expect((await resize(job.id, { columns: 100, rows: 30 })).status).toBe(200)
    await serving.store.jobs.wait(job.id)
    const { body } = await serving.ask('GET', `/v1/jobs/${job.id}/output`)
    expect(body.toString()).toBe('ready\r\n30 100\r\n')
    expectError(await resize(job.id, pty), 409, 'ECONFLICT')
    const wrong = JSON.stringify({ command: ['true'], cwd: '/', env: {}, umask: '077' })
    expectError(await serving.ask('POST', '/v1/jobs', { body: wrong }), 400, 'EINVAL')
  })

  it('are followed while they run, read stdin, and are signaled', async () => {
    const job = await submit(['cat'], { stdin: true })
    const request = httpRequest({
      socketPath: serving.server.socket,
      method: 'POST',
      path: `/v1/jobs/${job.id}/stdin`,
    })
    request.write('typed ')
    const output = await fetch(`${serving.url}/v1/jobs/${job.id}/output?follow`, {
      headers: { authorization: `Bearer ${serving.server.token}` },
    })
    request.end('twice')
    const [response] = await once(request, 'response')
    response.resume()
    expect(response.statusCode).toBe(200)
    expect(await output.text()).toBe('typed twice')

    const sleeper = await submit(['sleep', '1000'])
    const signaled = await serving.ask('POST', `/v1/jobs/${sleeper.id}/signal`, {
      body: '{"signal":"SIGTERM"}',
    })
    expect([signaled.status, signaled.json]).toEqual([200, {}])
    expect((await serving.ask('GET', `/v1/jobs/${sleeper.id}?wait`)).json).toMatchObject({
      signal: 'SIGTERM',
    })
    const late = await serving.ask('POST', `/v1/jobs/${sleeper.id}/signal`, {
      body: '{"signal":"SIGTERM"}',
    })
    expectError(late, 409, 'ECONFLICT')
  })

  it('answer their errors', async () => {
    for (const path of [
      '/v1/jobs/none',
      '/v1/jobs/none/events',
      '/v1/jobs/none/output',
      '/v1/jobs/a%2Fb',
      `/v1/jobs/${'x'.repeat(90)}`,
    ]) {
      expectError(await serving.ask('GET', path), 404, 'ENOENT')
    }
    expectError(
      await serving.ask('POST', '/v1/jobs/none/signal', { body: '{"signal":"SIGTERM"}' }),
      404,
      'ENOENT',
    )
    expectError(await serving.ask('POST', '/v1/jobs/none/stdin', { body: 'x' }), 404, 'ENOENT')
    const { id } = await submit(['true'])
    expectError(await serving.ask('GET', `/v1/jobs/${id}/output?stream=stdin`), 400, 'EINVAL')
    for (const query of ['from=1&lines=1', 'lines=-1', 'since=x', 'to=1']) {
      expectError(await serving.ask('GET', `/v1/jobs/${id}/output?${query}`), 400, 'EINVAL')
    }
    expectError(await serving.ask('POST', `/v1/jobs/${id}/signal`, { body: '{}' }), 400, 'EINVAL')
    for (const body of [
      '',
      '{}',
      '{"command":[],"cwd":"/","env":{}}',
      '{"command":["a"],"cwd":"b","env":{}}',
    ]) {
      expectError(await serving.ask('POST', '/v1/jobs', { body }), 400, 'EINVAL')
    }
    expectError(await serving.ask('GET', '/v1/jobs?limit=0'), 400, 'EINVAL')
    await serving.ask('GET', `/v1/jobs/${id}?wait`)
  })
})
