/** The server as a whole: who may talk to it, what it tells of itself, how it ends. */

import { once } from 'node:events'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fileIdentity } from '../../src/base/file-identity.js'
import { readServerRecord } from '../../src/local/directory.js'
import { open } from '../../src/open.js'
import { startServer } from '../../src/server/server.js'
import { Peer } from './peer.js'
import { type Answer, type Asked, answerOf, expectError, Serving } from './serving.js'

describe('over TCP', () => {
  let serving: Serving
  const page = 'https://page.example'

  beforeAll(async () => {
    serving = await Serving.start({ allowOrigins: [page], allowHosts: ['proxy.example'] })
  })
  afterAll(() => serving[Symbol.asyncDispose]())

  /** `fetch` sets Host and Origin as it likes. */
  async function ask(method: string, path: string, asked: Asked = {}): Promise<Answer> {
    const [host, port] = serving.server.listen[0]?.split(':') ?? []
    const authorization = `Bearer ${asked.token ?? serving.server.token}`
    const headers = { authorization, ...asked.headers }
    const request = httpRequest({ host, port, method, path, headers })
    request.end(asked.body)
    const [response] = await once(request, 'response')
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk)
    const body = Buffer.concat(chunks)
    return answerOf(response.statusCode, response.headers, body)
  }

  it('every route but /healthz and the documents wants the token', async () => {
    for (const [method, path] of [
      ['GET', '/v1/status'],
      ['GET', '/v1/kv/a'],
      ['PUT', '/v1/kv/a'],
      ['POST', '/v1/stop'],
      ['GET', '/v1/jobs'],
      ['GET', '/v1/ws'],
      ['GET', '/nothing'],
    ] as const) {
      const body = method === 'PUT' ? 'x' : undefined
      expectError(
        await serving.ask(method, path, { token: '', body }),
        401,
        'EUNAUTH',
        /tailrace token/,
      )
      expectError(await serving.ask(method, path, { token: 'wrong', body }), 401, 'EUNAUTH')
    }
    const health = await serving.ask('GET', '/healthz', { token: '' })
    expect(health.json).toEqual({ ok: true, version: '0.1.0', storeId: serving.store.storeId })
    for (const path of ['/docs', '/openapi.json']) {
      expect((await serving.ask('GET', path, { token: '' })).status).toBe(200)
      expectError(await serving.ask('GET', `${path}/a`, { token: '' }), 401, 'EUNAUTH')
    }
    expect(
      (await serving.ask('HEAD', '/v1/kv/a', { token: 'wrong' })).headers['tailrace-error'],
    ).toBe('EUNAUTH')
  })

  it('a foreign Host is EPERM, before anything else', async () => {
    for (const path of ['/v1/status', '/healthz', '/docs', '/openapi.json', '/nothing']) {
      expectError(
        await ask('GET', path, { headers: { host: 'evil.example' } }),
        403,
        'EPERM',
        /--allow-host/,
      )
    }
    for (const host of ['localhost', 'localhost:1', 'proxy.example']) {
      expect((await ask('GET', '/v1/status', { headers: { host } })).status).toBe(200)
    }
  })

  it('a foreign Origin is EPERM, also over the Unix socket', async () => {
    for (const origin of ['https://evil.example', 'null']) {
      const headers = { origin }
      for (const path of ['/healthz', '/docs', '/openapi.json']) {
        expectError(await ask('GET', path, { headers }), 403, 'EPERM', /--allow-origin/)
      }
      expectError(await ask('OPTIONS', '/v1/kv/a', { headers }), 403, 'EPERM')
      expectError(await serving.askLocally('GET', '/v1/status', { headers }), 403, 'EPERM')
    }
    const own = { origin: serving.url }
    expect((await ask('GET', '/v1/status', { headers: own })).status).toBe(200)
  })

  it('an allowed Origin gets its headers, and a preflight without a token', async () => {
    const preflight = await ask('OPTIONS', '/v1/kv/a', { token: 'none', headers: { origin: page } })
    expect(preflight.status).toBe(204)
    expect(preflight.headers).toMatchObject({
      'access-control-allow-origin': page,
      'access-control-allow-methods': expect.stringContaining('PUT'),
      'access-control-allow-headers': expect.stringContaining('authorization'),
      vary: 'Origin',
      'access-control-max-age': '600',
    })
    await ask('POST', '/v1/kv/a', { body: 'x', headers: { origin: page } })
    await serving.ask('PUT', '/v1/kv/large', { body: Buffer.alloc(1_000_000) })
    for (const path of ['/v1/kv/a', '/v1/kv/nothing', '/v1/kv/large', '/v1/eventlog/a']) {
      const answer = await ask('GET', path, { headers: { origin: page } })
      expect(answer.headers['access-control-allow-origin'], path).toBe(page)
    }
    expectError(
      await ask('GET', '/v1/status', { token: 'wrong', headers: { origin: page } }),
      401,
      'EUNAUTH',
    )
  })

  it('a route that is not there is ENOENT in our envelope', async () => {
    expectError(await serving.ask('GET', '/nothing'), 404, 'ENOENT', /GET \/nothing/)
    expectError(await serving.ask('PATCH', '/v1/kv/a', { body: '' }), 404, 'ENOENT')
    expectError(await serving.ask('GET', `/v1/jobs/${'x'.repeat(2_000)}`), 400, 'EINVAL')
    expectError(await serving.ask('GET', '/v1/ws'), 400, 'EINVAL', /upgrade/)
  })

  it('tells of itself', async () => {
    await using peer = await Peer.connect(serving)
    peer.send({ id: 1, op: 'watch', key: 'later', mode: 'append', waitCreate: true })
    peer.send({ id: 2, op: 'root' })
    await peer.until(({ id }) => id === 2)
    expect((await serving.ask('GET', '/v1/status')).json).toEqual({
      version: '0.1.0',
      storeId: serving.store.storeId,
      pid: process.pid,
      started: expect.any(Number),
      directory: serving.directory,
      listen: serving.server.listen,
      urls: serving.server.listen.map((at) => `http://${at}`),
      memory: { rss: expect.any(Number), anonymous: expect.any(Number) },
      watchers: 1,
      connections: 1,
      backlog: 0,
      jobs: { running: 0, waiting: 0 },
      usage: await serving.store.upkeep.usage(),
    })
  })
})

describe('its life', () => {
  it('server.json is there while it listens, and the socket is its owner’s', async () => {
    await using serving = await Serving.start()
    const { server, directory, store } = serving
    expect(await readServerRecord(directory)).toEqual({
      directory: await fileIdentity(directory),
      pid: process.pid,
      startTime: expect.stringMatching(/^[0-9]+$/),
      socket: join(directory, 'tailrace.sock'),
      listen: server.listen,
      urls: server.listen.map((at) => `http://${at}`),
      version: '0.1.0',
      storeId: store.storeId,
      started: expect.any(Number),
    })
    expect((await stat(server.socket)).mode & 0o777).toBe(0o600)
    await server.stop()
    expect(await server.ended).toBe('stopped')
    expect(await readServerRecord(directory)).toBeUndefined()
    await expect(stat(server.socket)).rejects.toThrow('ENOENT')
    await expect(serving.ask('GET', '/healthz')).rejects.toThrow()
    await server.stop()
  })

  it('a path above 100 bytes has its socket elsewhere', async () => {
    const base = await mkdtemp(join(tmpdir(), 'tailrace-long-'))
    const directory = join(base, 'd'.repeat(120))
    await using store = await open()
    const server = await startServer(store, { directory })
    expect(Buffer.byteLength(server.socket)).toBeLessThanOrEqual(100)
    const request = httpRequest({ socketPath: server.socket, path: '/healthz' })
    request.end()
    const [response] = await once(request, 'response')
    response.resume()
    expect(response.statusCode).toBe(200)
    await server.stop()
    await expect(stat(server.socket)).rejects.toThrow('ENOENT')
    await rm(base, { recursive: true })
  })

  it('a socket that a killed server left is taken over', async () => {
    await using serving = await Serving.start()
    await serving.close()
    await writeFile(serving.server.socket, '')
    await using again = await serving.reopen()
    expect((await again.askLocally('GET', '/healthz')).status).toBe(200)
  })

  it('POST /v1/stop ends it; while jobs run only by force', async () => {
    await using serving = await Serving.start()
    const job = await serving.store.jobs.submit({ command: ['sleep', '1000'], cwd: '/', env: {} })
    expectError(await serving.ask('POST', '/v1/stop'), 503, 'EBUSY', /1 jobs run/)
    expectError(await serving.ask('POST', '/v1/stop', { body: '{"force":1}' }), 400, 'EINVAL')
    const waiting = serving.ask('GET', `/v1/jobs/${job.id}?wait`)
    const root = serving.ask('GET', '/v1/root?waitSeq=1000')
    await serving.ask('GET', '/healthz')
    const stop = await serving.ask('POST', '/v1/stop', { body: '{"force":true}' })
    expect([stop.status, stop.json]).toEqual([200, { stopping: true }])
    expect(await serving.server.ended).toBe('stopped')
    expectError(await waiting, 503, 'ECLOSED')
    expectError(await root, 503, 'ECLOSED')
  })

  describe('that waits for jobs', () => {
    const env = { PATH: '/bin:/usr/bin' }
    const submission = { command: ['cat'], cwd: '/', env, stdin: true }

    it('takes no more of them, serves all else, and ends after the last one', async () => {
      await using serving = await Serving.start({ stopJobsMs: 600_000 }, { runningMax: 1 })
      const { store, server } = serving
      const first = await store.jobs.submit(submission)
      const second = await store.jobs.submit(submission)
      const stopping = server.stop()
      await expect(store.jobs.submit(submission)).rejects.toMatchObject({ code: 'ECLOSED' })
      expectError(await serving.ask('GET', '/readyz'), 503, 'ECLOSED', /stopping/)
      expect((await serving.ask('PUT', '/v1/kv/a', { body: 'x' })).status).toBe(200)
      for (const { id } of [first, second]) {
        await serving.ask('POST', `/v1/jobs/${id}/stdin`, { body: 'over' })
        expect(await store.jobs.wait(id)).toMatchObject({ state: 'finished', status: 0 })
      }
      await stopping
      expect(await server.ended).toBe('stopped')
    })

    it('ends them when the time is up, or at once if it is told so', async () => {
      for (const [stopJobsMs, now] of [
        [50, false],
        [600_000, true],
      ] as const) {
        await using serving = await Serving.start({ stopJobsMs })
        const { id } = await serving.store.jobs.submit(submission)
        const stopping = serving.server.stop()
        if (now) void serving.server.stop({ now })
        await stopping
        await serving.store[Symbol.asyncDispose]()
        await using again = await serving.reopen()
        expect(await again.store.jobs.show(id)).toMatchObject({ signal: 'SIGTERM' })
      }
    })
  })

  it('ends when idle, but not before, and not while somebody is connected', async () => {
    await using serving = await Serving.start({ idleExitMs: 500 })
    const peer = await Peer.connect(serving)
    const started = performance.now()
    while (performance.now() - started < 1_000) {
      peer.send({ id: 1, op: 'root' })
      expect(await peer.next()).toMatchObject({ type: 'result' })
    }
    expect(await readServerRecord(serving.directory)).toBeDefined()
    await peer[Symbol.asyncDispose]()
    expect(await serving.server.ended).toBe('idle')
    expect(await readServerRecord(serving.directory)).toBeUndefined()
  })

  it('does not end while a lease is held', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tailrace-held-'))
    await using store = await open()
    const take = { op: 'lease', key: 'lock', action: 'take', ttl: 60_000 } as const
    const { results } = await store.commit({ ops: [take] })
    const server = await startServer(store, { directory, idleExitMs: 20, log: () => {} })
    const first = await Promise.race([
      server.ended,
      store.root({ waitSeq: 2, signal: AbortSignal.timeout(200) }).catch(() => 'runs'),
    ])
    expect(first).toBe('runs')
    const token = results[0]?.token
    if (!token) throw new Error('a take answers its token')
    await store.commit({ ops: [{ op: 'lease', key: 'lock', action: 'release', token }] })
    expect(await server.ended).toBe('idle')
    await rm(directory, { recursive: true })
  })

  it('does not end while a job runs', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tailrace-busy-'))
    await using store = await open()
    // Before the server starts: it would be idle until then.
    const submission = { command: ['cat'], cwd: '/', env: { PATH: '/bin:/usr/bin' }, stdin: true }
    const job = await store.jobs.submit(submission)
    const server = await startServer(store, { directory, idleExitMs: 20, log: () => {} })
    const first = await Promise.race([
      server.ended,
      store.root({ waitSeq: 1, signal: AbortSignal.timeout(200) }).catch(() => 'runs'),
    ])
    expect(first).toBe('runs')
    await store.jobs.signal(job.id, 'SIGKILL')
    expect(await server.ended).toBe('idle')
    await rm(directory, { recursive: true })
  })
})

describe('startServer()', () => {
  const cases = [
    ['an address that is none', ['here'], 'EINVAL'],
    ['an address that others reach', ['0.0.0.0:0'], 'EMISCONFIGURED'],
    ['an address that is not here', ['127.0.0.1:0', '127.0.0.1:99999'], 'EINVAL'],
  ] as const

  it.each(cases)('on %s throws, and leaves nothing', async (_, listen, code) => {
    const directory = await mkdtemp(join(tmpdir(), 'tailrace-refused-'))
    await using store = await open()
    await expect(startServer(store, { directory, listen })).rejects.toMatchObject({ code })
    expect(await readServerRecord(directory)).toBeUndefined()
    await expect(stat(join(directory, 'tailrace.sock'))).rejects.toThrow('ENOENT')
    await rm(directory, { recursive: true })
  })

  it('on a port in use is EBUSY, and leaves nothing', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const directory = await mkdtemp(join(tmpdir(), 'tailrace-refused-'))
    await using store = await open()
    const { port } = other.address() as { port: number }
    const starting = startServer(store, { directory, listen: [`127.0.0.1:${port}`] })
    await expect(starting).rejects.toMatchObject({ code: 'EBUSY' })
    await expect(stat(join(directory, 'tailrace.sock'))).rejects.toThrow('ENOENT')
    other.close()
    await rm(directory, { recursive: true })
  })

  it('with insecureListen takes any address', async () => {
    await using serving = await Serving.start({ listen: ['0.0.0.0:0'], insecureListen: true })
    const port = serving.server.listen[0]?.split(':')[1]
    const response = await fetch(`http://localhost:${port}/healthz`)
    expect(response.status).toBe(200)
  })
})
