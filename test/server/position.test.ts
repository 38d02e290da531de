/** Readers of bytes that say which history they mean: rfc/12, rule 30. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { placeRootsMax } from '../../src/kvs/places.js'
import { formatPlace, parsePlace } from '../../src/server/place.js'
import { Raw } from './raw.js'
import { type Answer, expectError, Serving } from './serving.js'

let serving: Serving

beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(() => serving[Symbol.asyncDispose]())

const append = (key: string, text: string) => serving.store.append(key, text)
const remove = (key: string) => serving.store.commit({ ops: [{ op: 'unlink', key }] })
const positionOf = (answer: Answer) =>
  encodeURIComponent(String(answer.headers['tailrace-position']))

function read(key: string, query = ''): Promise<Answer> {
  return serving.ask('GET', `/v1/kv/${key}${query}`)
}

/** The head of a follow, and what has come when all that was there has. */
async function followed(key: string, query: string, until: RegExp): Promise<string> {
  await using raw = await Raw.overSocket(serving)
  raw.send([`GET /v1/kv/${key}?follow&${query} HTTP/1.1`, 'Host: x'])
  return await raw.until(until)
}

describe('a position', () => {
  it('goes before a value, a part of it, its head, and what is followed', async () => {
    await append('told', 'one ')
    await append('told', 'two ')
    const position = positionOf(await read('told'))
    expect(parsePlace(decodeURIComponent(position), 'it')).toMatchObject({
      position: { index: 2 },
      offset: 8,
    })
    for (const answer of [
      await read('told', '?from=4'),
      await serving.ask('GET', '/v1/kv/told', { headers: { range: 'bytes=1-2' } }),
      await serving.ask('HEAD', '/v1/kv/told'),
    ]) {
      expect(positionOf(answer)).toBe(position)
    }
    const head = await followed('told', 'from=0', /two /)
    expect(head).toContain(`\r\ntailrace-position: ${decodeURIComponent(position)}\r\n`)
  })

  it('goes behind an append', async () => {
    const first = await serving.ask('POST', '/v1/kv/appended', { body: 'one ' })
    await serving.ask('POST', '/v1/kv/appended', { body: 'two ' })
    const rest = await read('appended', `?position=${positionOf(first)}`)
    expect(rest.body.toString()).toBe('two ')
  })

  it('is where a read goes on, again and again', async () => {
    await append('polled', 'one ')
    let answer = await read('polled')
    for (const text of ['two ', 'three ', '', 'four ']) {
      if (text !== '') await append('polled', text)
      answer = await read('polled', `?position=${positionOf(answer)}`)
      expect(answer.body.toString()).toBe(text)
    }
    const part = await read('polled', `?position=${positionOf(answer)}&from=4&to=7`)
    expect(part.body.toString()).toBe('two')
  })

  it('is where a follow goes on, from any byte', async () => {
    await append('resumed', 'one ')
    const position = positionOf(await read('resumed'))
    await append('resumed', 'two ')
    await append('resumed', 'three ')
    expect(await followed('resumed', `position=${position}`, /three /)).toMatch(/two /)
    for (const [from, text] of [
      [4, 'two '],
      [6, 'o '],
      [8, 'three '],
    ] as const) {
      const got = await followed('resumed', `position=${position}&from=${from}`, /three /)
      expect(got.split('\r\n\r\n')[1]).toMatch(new RegExp(`^[0-9a-f]\r\n${text}`))
    }
  })

  it.each(['val', 'valref'])(
    'is of no other history, behind a first blob that is a %s',
    async (kind) => {
      const key = `other-${kind}`
      const text = (letter: string) => letter.repeat(kind === 'val' ? 10 : 300_000)
      await append(key, text('A'))
      const position = positionOf(await read(key))
      await remove(key)
      await append(key, text('B'))
      await append(key, 'bbbb')
      for (const query of [
        `position=${position}`,
        `from=10&position=${position}`,
        `position=${position}&from=0`,
      ]) {
        expectError(await read(key, `?${query}`), 409, 'EOVERWRITTEN')
        expectError(await read(key, `?follow&${query}`), 409, 'EOVERWRITTEN')
        const { headers, status } = await serving.ask('HEAD', `/v1/kv/${key}?${query}`)
        expect([status, headers['tailrace-error']]).toEqual([409, 'EOVERWRITTEN'])
      }
    },
  )

  it('does not hold for bytes behind it that were others, though it stands before them', async () => {
    await append('header', 'time,value\n')
    const position = positionOf(await read('header'))
    await append('header', '1,a\n')
    const began = `?position=${position}&from=15`
    expect((await read('header', began)).status).toBe(200)
    await remove('header')
    await append('header', 'time,value\n')
    expect((await read('header', `?position=${position}`)).status).toBe(200)
    await append('header', '2,b\n')
    await append('header', '3,c\n')
    expectError(await read('header', began), 409, 'EOVERWRITTEN')
    expectError(await read('header', `?follow&${began.slice(1)}`), 409, 'EOVERWRITTEN')
    // What it stands behind is the same: from there on it is good.
    expect((await read('header', `?position=${position}`)).body.toString()).toBe('2,b\n3,c\n')
  })

  it('does not hold for more bytes than there are', async () => {
    await append('short', 'AAAA')
    const position = positionOf(await read('short'))
    await append('short', 'BBBB')
    await serving.store.put('short', 'AAAA')
    expectError(await read('short', `?position=${position}&from=8`), 409, 'EOVERWRITTEN')
  })

  it('of a key that has gone is ENOENT, though one waits for it', async () => {
    await append('gone', 'x')
    const position = positionOf(await read('gone'))
    await remove('gone')
    const query = `?follow&waitCreate&position=${position}`
    expectError(await read('gone', query), 404, 'ENOENT')
    await serving.store.put('gone/a', 'x')
    expectError(await read('gone', query), 409, 'EISDIR')
  })

  it('holds over trims, and what they dropped is ECOMPACTED', async () => {
    for (const text of ['one ', 'two ', 'three ']) await append('trimmed', text)
    const start = positionOf(await read('trimmed'))
    await append('trimmed', 'four ')
    await serving.store.commit({ ops: [{ op: 'trim', key: 'trimmed', keep: 1 }] })
    await append('trimmed', 'five ')
    const rest = await read('trimmed', `?position=${start}&from=14`)
    expect(rest.body.toString()).toBe('four five ')
    expectError(await read('trimmed', `?position=${start}&from=4`), 410, 'ECOMPACTED')
    const end = positionOf(rest)
    await append('trimmed', 'six ')
    expect((await read('trimmed', `?position=${end}`)).body.toString()).toBe('six ')
  })

  it('holds after a restart', async () => {
    const first = await Serving.start()
    await first.store.append('log', 'one ')
    const answer = await first.ask('GET', '/v1/kv/log')
    await first.store.append('log', 'two ')
    await using second = await first.reopen()
    const query = `?position=${positionOf(answer)}&from=4`
    expect((await second.ask('GET', `/v1/kv/log${query}`)).body.toString()).toBe('two ')
  })

  it('cannot be told where the roots since then have gone', async () => {
    await using other = await Serving.start()
    const { store } = other
    await store.append('log', 'one ')
    const position = positionOf(await other.ask('GET', '/v1/kv/log'))
    for (let index = 0; index < 4; index++) await store.append('log', 'more')
    await store.namespaces.configure('primary', { historyCount: 1, historyAgeMs: 0 })
    await store.append('log', 'last')
    await store.upkeep.collect()
    const ask = (query: string) => other.ask('GET', `/v1/kv/log?position=${position}${query}`)
    expectError(await ask('&from=8'), 410, 'ECOMPACTED', /without from/)
    expect((await ask('')).body.toString()).toBe(`${'more'.repeat(4)}last`)
    expect(placeRootsMax).toBeGreaterThan(4_096)
  })

  it('says what cannot be read, or means nothing', async () => {
    await append('said', 'x')
    const position = positionOf(await read('said'))
    for (const query of [
      'position=',
      'position=x',
      `position=${position}~1`,
      `position=${position}&at=1`,
      `position=${position}&index=0`,
      `follow&position=${position}&index=0`,
      `position=${position.replace('blake3', 'sha1')}`,
    ]) {
      expectError(await read('said', `?${query}`), 400, 'EINVAL')
    }
    expectError(await serving.ask('GET', `/v1/list/?position=${position}`), 400, 'EINVAL')
    const other = parsePlace(decodeURIComponent(position), 'it')
    const elsewhere = { ...other, position: { ...other.position, incarnation: '0'.repeat(32) } }
    expectError(await read('said', `?position=${formatPlace(elsewhere)}`), 409, 'EOVERWRITTEN')
  })
})
