/** `?follow`: raw bytes as they are appended, and how it ends. */

import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expectError, Serving } from './serving.js'

let serving: Serving

beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(() => serving[Symbol.asyncDispose]())

/** A client that reads as bytes come. */
class Follower {
  readonly response: IncomingMessage
  #text = ''

  private constructor(response: IncomingMessage) {
    this.response = response
    response.on('error', () => {})
    response.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1')
    })
  }

  static async start(path: string): Promise<Follower> {
    const request = httpRequest({ socketPath: serving.server.socket, path, headers: { host: 'x' } })
    request.end()
    const [response] = await once(request, 'response')
    expect(response.statusCode).toBe(200)
    expect(response.headers['transfer-encoding']).toBe('chunked')
    expect(response.headers['content-length']).toBeUndefined()
    return new Follower(response)
  }

  async until(text: string): Promise<void> {
    while (this.#text.length < text.length) await once(this.response, 'data')
    expect(this.#text).toBe(text)
  }

  /** How it ended: `whole` only with a last chunk. */
  async end(): Promise<{ readonly text: string; readonly whole: boolean }> {
    // An `error` comes before the `close`.
    while (!this.response.closed) await once(this.response, 'close').catch(() => {})
    return { text: this.#text, whole: this.response.complete }
  }
}

describe('GET ?follow', () => {
  it('streams what was there and what comes, and ends whole when sealed', async () => {
    await serving.store.append('sealed', 'one ')
    const follower = await Follower.start('/v1/kv/sealed?follow=true')
    await follower.until('one ')
    await serving.store.append('sealed', '')
    await serving.store.append('sealed', 'two ')
    await follower.until('one two ')
    await serving.store.append('sealed', 'three', { seal: true })
    expect(await follower.end()).toEqual({ text: 'one two three', whole: true })
  })

  it('of a key that is sealed already is the whole value', async () => {
    await serving.store.append('done', 'all', { seal: true })
    const follower = await Follower.start('/v1/kv/done?follow')
    expect(await follower.end()).toEqual({ text: 'all', whole: true })
  })

  it.each([
    ['from=0', 'aaabbbccc'],
    ['from=2', 'abbbccc'],
    ['from=3', 'bbbccc'],
    ['from=4', 'bbccc'],
    ['from=9', ''],
    ['index=1', 'bbbccc'],
    ['index=-1', 'ccc'],
    ['index=3', ''],
  ])('?%s begins there', async (query, rest) => {
    const key = `begin-${query}`
    for (const text of ['aaa', 'bbb', 'ccc']) await serving.store.append(key, text)
    const follower = await Follower.start(`/v1/kv/${encodeURIComponent(key)}?follow&${query}`)
    await serving.store.append(key, 'ddd', { seal: true })
    expect(await follower.end()).toEqual({ text: `${rest}ddd`, whole: true })
  })

  it.each([
    ['overwritten', (key: string) => serving.store.put(key, 'other')],
    ['removed', (key: string) => serving.store.commit({ ops: [{ op: 'unlink', key }] })],
  ])('of a key that is %s gives every byte of before and no last chunk', async (how, change) => {
    const key = `cut-${how}`
    await serving.store.append(key, 'one ')
    const follower = await Follower.start(`/v1/kv/${key}?follow`)
    await serving.store.append(key, 'two')
    await follower.until('one two')
    await change(key)
    expect(await follower.end()).toEqual({ text: 'one two', whole: false })
  })

  it('that the server ends has no last chunk', async () => {
    const other = await Serving.start()
    await other.store.append('a', 'x')
    const response = await fetch(`${other.url}/v1/kv/a?follow`, {
      headers: { authorization: `Bearer ${other.server.token}` },
    })
    await other.server.stop()
    await expect(response.arrayBuffer()).rejects.toThrow('terminated')
    await other[Symbol.asyncDispose]()
  })

  it('answers what is wrong before the first byte', async () => {
    expectError(await serving.ask('GET', '/v1/kv/nothing?follow'), 404, 'ENOENT')
    expectError(await serving.ask('GET', '/v1/kv/a?follow&ns=none'), 404, 'ENONS')
    await serving.store.put('dir/a', 'x')
    expectError(await serving.ask('GET', '/v1/kv/dir?follow'), 409, 'EISDIR')
  })

  it('?waitCreate begins when the key is made', async () => {
    const starting = Follower.start('/v1/kv/made?follow&waitCreate')
    await serving.store.append('made', 'x', { seal: true })
    expect(await (await starting).end()).toEqual({ text: 'x', whole: true })
  })

  it('has the content type of the key', async () => {
    await serving.store.put('typed', '{', { contentType: 'application/json' })
    const follower = await Follower.start('/v1/kv/typed?follow')
    expect(follower.response.headers['content-type']).toBe('application/json')
    follower.response.destroy()
  })

  it('leaves no watcher when the client goes', async () => {
    await serving.store.append('left', 'x')
    const follower = await Follower.start('/v1/kv/left?follow')
    await follower.until('x')
    const watching = serving.store.watchers
    expect(watching).toBeGreaterThan(0)
    follower.response.destroy()
    while (serving.store.watchers >= watching) await serving.askLocally('GET', '/healthz')
  })

  it('to a client that does not read holds next to nothing, then gives every byte', async () => {
    const piece = Buffer.alloc(1024 * 1024, 'x')
    await serving.store.append('slow', piece)
    const socket = connect(serving.server.socket)
    socket.write('GET /v1/kv/slow?follow HTTP/1.1\r\nHost: x\r\n\r\n')
    await once(socket, 'readable')
    const { loads } = serving.store
    for (let index = 1; index < 40; index++) await serving.store.append('slow', piece)
    await serving.store.append('slow', '', { seal: true })
    expect(serving.store.loads).toBe(loads)
    let size = 0
    let tail = Buffer.alloc(0)
    while (!tail.toString('latin1').endsWith('\r\n0\r\n\r\n')) {
      const chunk: Buffer | null = socket.read()
      if (!chunk) {
        await once(socket, 'readable')
        continue
      }
      size += chunk.length
      tail = Buffer.concat([tail, chunk]).subarray(-16)
    }
    expect(size).toBeGreaterThan(40 * piece.length)
    socket.destroy()
  })
})
