/** `GET /v1/watch/KEY`: values and changes as event streams and by long polling. See rfc/12, rule 39. */

import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expectError, Serving } from './serving.js'

let serving: Serving
beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(() => serving[Symbol.asyncDispose]())

type Sent = { readonly event: string; readonly id: string | undefined; readonly data: unknown }

/** An event stream, read event by event. */
async function open(path: string, headers: Readonly<Record<string, string>> = {}) {
  const request = httpRequest(`${serving.url}/v1/watch/${path}`, {
    headers: {
      authorization: `Bearer ${serving.server.token}`,
      accept: 'text/event-stream',
      ...headers,
    },
  }).end()
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  const chunks = response[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  let text = ''
  const next = async (): Promise<Sent> => {
    for (;;) {
      const end = text.indexOf('\n\n')
      if (end >= 0) {
        const lines = text.slice(0, end).split('\n')
        text = text.slice(end + 2)
        const field = (name: string) =>
          lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2)
        const data = field('data')
        if (data === undefined) continue
        return { event: field('event') ?? 'message', id: field('id'), data: JSON.parse(data) }
      }
      const chunk = await chunks.next()
      if (chunk.done) throw new Error('the stream has ended')
      text += chunk.value.toString()
    }
  }
  return { response, next, close: () => request.destroy() }
}

const poll = async (path: string) =>
  (await serving.ask('GET', `/v1/watch/${path}`)).json as {
    readonly events: readonly { readonly [name: string]: unknown }[]
    readonly next?: string
  }

describe('an event stream', () => {
  it('of a value has each one, and goes on behind the last id', async () => {
    const { store } = serving
    await store.put('v', 'one')
    const first = await open('v?mode=value')
    expect(first.response.headers['content-type']).toContain('text/event-stream')
    const one = await first.next()
    expect(one).toMatchObject({ event: 'value', data: { size: 3, data: 'one' } })
    await store.put('v', 'two')
    const two = await first.next()
    expect(two).toMatchObject({ event: 'value', data: { data: 'two' } })
    first.close()
    const again = await open('v?mode=value', { 'last-event-id': two.id ?? '' })
    expect(await again.next()).toMatchObject({ event: 'live' })
    await store.put('v', Buffer.from([0xff]))
    expect(await again.next()).toMatchObject({ data: { data: { base64: '/w==' } } })
    again.close()
    const old = await open('v?mode=value', { 'last-event-id': one.id ?? '' })
    expect(await old.next()).toMatchObject({ data: { data: { base64: '/w==' } } })
    old.close()
  })

  it('of changes has each one, and goes on behind the last id', async () => {
    const { store } = serving
    await store.put('c/a', '1')
    const first = await open('c?mode=changes&initial=true')
    const all = await first.next()
    expect(all).toMatchObject({
      event: 'changes',
      data: { entries: [{ key: 'c' }, { key: 'c/a' }] },
    })
    expect(await first.next()).toMatchObject({ event: 'live', id: undefined })
    await store.put('c/b', '1')
    const added = await first.next()
    expect(added).toMatchObject({ data: { entries: [{ key: 'c/b', change: 'added' }] } })
    first.close()
    await store.put('c/b', '2')
    const again = await open('c?mode=changes&initial=true', { 'last-event-id': added.id ?? '' })
    expect(await again.next()).toMatchObject({
      data: { entries: [{ key: 'c/b', change: 'changed' }] },
    })
    again.close()
  })

  it('has heartbeats, and says who holds a lease', async () => {
    await serving.store.put('l', '1')
    const stream = await open('l?mode=value&lease=true&heartbeat=100')
    const seen = new Set<string>()
    while (!seen.has('heartbeat')) seen.add((await stream.next()).event)
    expect([...seen].sort()).toEqual(['heartbeat', 'lease', 'value'])
    const lease = await serving.store.leases.take('l')
    let sent = await stream.next()
    while (sent.event !== 'lease') sent = await stream.next()
    expect(sent.data).toMatchObject({ held: true })
    await lease.release()
    stream.close()
  })

  it('ends with the error of the watch', async () => {
    await serving.store.put('gone', '1')
    const stream = await open('gone?mode=value')
    await stream.next()
    await serving.store.commit({ ops: [{ op: 'unlink', key: 'gone' }] })
    expect(await stream.next()).toMatchObject({ event: 'failure', data: { code: 'ENOENT' } })
  })
})

describe('a long poll', () => {
  it('of a value is answered with one that the client does not have', async () => {
    const { store } = serving
    await store.put('p', 'one')
    const one = await poll('p?mode=value')
    expect(one.events).toMatchObject([{ type: 'value', data: { base64: 'b25l' } }])
    const waiting = poll(`p?mode=value&since=${one.next}`)
    await store.put('p', 'two')
    const two = await waiting
    expect(two.events).toMatchObject([{ data: { base64: 'dHdv' } }])
    const none = await poll(`p?mode=value&since=${two.next}&timeout=0`)
    expect(none).toEqual({ events: [], next: two.next })
  })

  it('of changes is answered with what has changed since', async () => {
    const { store } = serving
    const { seq } = await store.put('q/a', '1')
    const first = await poll(`q?mode=changes&since=${seq - 1}`)
    expect(first.events).toMatchObject([{ entries: [{ key: 'q' }, { key: 'q/a' }] }])
    const none = await poll(`q?mode=changes&since=${first.next}&timeout=20`)
    expect(none.events).toEqual([])
    await store.put('q/b', '1')
    await store.put('q/c', '1')
    const next = await poll(`q?mode=changes&since=${none.next}`)
    expect(next.events).toMatchObject([{ entries: [{ key: 'q/b' }, { key: 'q/c' }] }])
    const now = await poll('q?mode=changes&timeout=0')
    expect(now.events).toEqual([])
  })

  it.each([
    ['p', 400, 'EINVAL'],
    ['p?mode=append', 400, 'EINVAL'],
    ['p?mode=value&initial=true', 400, 'EINVAL'],
    ['p?mode=value&since=x', 400, 'EINVAL'],
    ['p?mode=value&heartbeat=100', 400, 'EINVAL'],
    ['p?mode=value&timeout=300001', 400, 'EINVAL'],
    ['p?mode=changes&uniq=true', 400, 'EINVAL'],
    ['p?mode=changes&waitCreate=true', 400, 'EINVAL'],
    ['p?mode=changes&since=x', 400, 'EINVAL'],
    ['p?mode=changes&since=WzEsMiwzLDQsNV0', 400, 'EINVAL'],
    ['p?mode=changes&since=999999', 400, 'EINVAL'],
    ['nothing?mode=value', 404, 'ENOENT'],
  ])('of %s is %i', async (path, status, code) => {
    expectError(await serving.ask('GET', `/v1/watch/${path}`), status, code)
  })

  it('needs the rights of a watch', async () => {
    const { store } = serving
    const { token } = await store.tokens.create('reader', { grants: ['read@primary/p'] })
    expectError(await serving.ask('GET', '/v1/watch/p?mode=value', { token }), 403, 'EPERM')
    const { path } = await store.tokens.link({ key: 'p', follow: true })
    const watch = path.replace('/kv/', '/watch/').replace('follow=true', 'mode=value')
    expectError(await serving.ask('GET', watch, { token: '' }), 403, 'EPERM')
  })
})
