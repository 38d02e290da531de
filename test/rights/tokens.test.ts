/** Access tokens of a store: their records, their lives, and who may change them. */

import { describe, expect, it } from 'vitest'
import { accessTokensMax, accessTokenTtlDefault } from '../../src/api/access.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { type EmbeddedStore, openOn } from '../../src/open.js'
import { Grants } from '../../src/rights/grants.js'
import { decodeToken, encodeToken, TokenBook } from '../../src/rights/tokens.js'
import { TestClock } from '../clock.js'
import { refusal } from '../kvs/expect.js'

async function opened(): Promise<{ readonly store: EmbeddedStore; readonly clock: TestClock }> {
  const clock = new TestClock()
  const store = await openOn(new MemoryEngine(clock), { environment: clock })
  await store.tokenBook.load()
  return { store, clock }
}

describe('the record of a token', () => {
  const token = {
    id: '0123456789ab',
    name: 'ci',
    grants: ['read,watch@primary/logs'],
    created: 1_795_938_585_033,
    expires: 1_803_714_585_033,
  }
  const hash = Buffer.alloc(32, 7)
  const text = `{"v":1,"name":"ci","hash":"${'07'.repeat(32)}","grants":["read,watch@primary/logs"],"created":1795938585033,"expires":1803714585033}`

  it('is these bytes', () => {
    expect(encodeToken(token, hash)).toBe(text)
    const whole = { ...token, rate: 0.5, parent: 'ba9876543210' }
    const made = encodeToken(whole, hash)
    expect(made).toBe(`${text.slice(0, -1)},"rate":0.5,"parent":"ba9876543210"}`)
    const read = decodeToken(token.id, Buffer.from(made))
    expect(read.token).toEqual(whole)
    expect(read.hash).toEqual(hash)
  })

  it.each([
    '',
    '{}',
    text.replace('"v":1', '"v":2'),
    text.replace('07', '0x'),
    text.replace('read,', 'sudo,'),
    text.replace(/}$/, ',"rate":0}'),
    text.replace('"created":1', '"created":-1'),
  ])('%s is ECORRUPT', (damaged) => {
    const decode = () => decodeToken(token.id, Buffer.from(damaged))
    expect(decode).toThrow(expect.objectContaining({ code: 'ECORRUPT' }))
  })
})

describe('access tokens', () => {
  it('are known by their text alone, and the store has only its hash', async () => {
    const { store } = await opened()
    const made = await store.tokens.create('ci', { grants: ['read', 'jobs'] })
    expect(made.token).toMatch(/^tailrace_[0-9a-f]{12}_[\w-]{43}$/)
    const { token: text, ...shown } = made
    expect(await store.tokens.list()).toEqual([shown])
    expect(shown.expires - shown.created).toBe(accessTokenTtlDefault)
    expect(store.tokenBook.find(text)?.token).toEqual(shown)
    for (const wrong of [text.slice(0, -1), `${text}x`, text.replace(/.$/, '_'), '', made.id]) {
      if (wrong !== text) expect(store.tokenBook.find(wrong)).toBeUndefined()
    }
    const record = await store.get(`tokens/${made.id}`, { namespace: 'system' })
    const secret = text.slice('tailrace_0123456789ab_'.length)
    expect(Buffer.from(record ?? []).toString()).toContain('"name":"ci"')
    expect(Buffer.from(record ?? []).toString()).not.toContain(secret)
    await store.close()
  })

  it('are there after the store was opened again', async () => {
    const { store, clock } = await opened()
    const { token, id } = await store.tokens.create('ci', { grants: ['read'] })
    const { token: gone, id: goneId } = await store.tokens.create('cd', { grants: ['read'] })
    await store.tokens.revoke(goneId)
    const again = new TokenBook({ kvs: store.kvs, now: clock.now })
    await again.load()
    expect(again.find(token)?.token.id).toBe(id)
    expect(again.find(gone)).toBeUndefined()
    await store.close()
  })

  it('expire, and their keys with them', async () => {
    const { store, clock } = await opened()
    const { token, id } = await store.tokens.create('ci', { grants: ['read'], ttl: 10_000 })
    clock.advance(9_999)
    expect(store.tokenBook.find(token)).toBeDefined()
    await store.tokens.renew(id, { ttl: 5_000 })
    clock.advance(4_999)
    expect(store.tokenBook.find(token)).toBeDefined()
    clock.advance(1)
    expect(store.tokenBook.find(token)).toBeUndefined()
    expect(await store.tokens.list()).toEqual([])
    expect((await refusal(store.tokens.renew(id))).code).toBe('ENOENT')
    clock.advance(60_000)
    // The removal is a transaction of its own: this one is behind it.
    await store.kvs.put('x', '', { namespace: 'system' })
    expect(await store.get(`tokens/${id}`, { namespace: 'system' })).toBeUndefined()
    await store.close()
  })

  it('are made, listed, renewed and revoked by those above them only', async () => {
    const { store } = await opened()
    const { tokens, tokenBook } = store
    const grants = ['admin,read,write']
    const [boss, other] = [
      await tokens.create('boss', { grants, ttl: 3_600_000 }),
      await tokens.create('other', { grants }),
    ]
    const withinOf = (token: { readonly id: string; readonly name: string }) =>
      tokenBook.within(new Grants(token, grants))
    const mine = await withinOf(boss).create('mine', { grants, ttl: 3_000_000 })
    const below = await withinOf(mine).create('below', { grants: ['read'], ttl: 3_000_000 })
    expect(below.parent).toBe(mine.id)
    const idsOf = async (list: Promise<readonly { readonly id: string }[]>) =>
      (await list).map(({ id }) => id).sort()
    expect(await idsOf(withinOf(boss).list())).toEqual([mine.id, below.id].sort())
    expect(await idsOf(withinOf(other).list())).toEqual([])
    expect((await refusal(withinOf(other).revoke(below.id))).code).toBe('ENOENT')
    expect((await refusal(withinOf(mine).renew(boss.id))).code).toBe('ENOENT')
    const more = withinOf(mine).create('more', { grants: ['read@*'], ttl: 3_000_000 })
    expect(await refusal(more)).toMatchObject({
      code: 'EPERM',
      message: expect.stringContaining('may not give read@*'),
    })
    const longer = withinOf(mine).create('longer', { grants: ['read'], ttl: 3_500_000 })
    expect((await refusal(longer)).code).toBe('EPERM')
    expect((await refusal(withinOf(mine).renew(below.id, { ttl: 3_500_000 }))).code).toBe('EPERM')
    expect((await tokens.revoke(boss.id)).sort()).toEqual([boss.id, mine.id, below.id].sort())
    for (const { token } of [boss, mine, below]) expect(tokenBook.find(token)).toBeUndefined()
    expect(tokenBook.find(other.token)).toBeDefined()
    await store.close()
  })

  it('are worth nothing once one above them has expired', async () => {
    const { store, clock } = await opened()
    const grants = ['admin,read']
    const boss = await store.tokens.create('boss', { grants, ttl: 100_000 })
    const within = store.tokenBook.within(new Grants(boss, grants))
    const below = await within.create('below', { grants: ['read'], ttl: 90_000 })
    await store.tokens.renew(boss.id, { ttl: 10_000 })
    clock.advance(10_000)
    expect(store.tokenBook.find(below.token)).toBeUndefined()
    expect(await store.tokens.list()).toEqual([])
    await store.close()
  })

  it.each([
    ['an empty name', '', { grants: ['read'] }],
    ['a long name', 'x'.repeat(101), { grants: ['read'] }],
    ['no grant', 'ci', { grants: [] }],
    ['a short ttl', 'ci', { grants: ['read'], ttl: 999 }],
    ['a long ttl', 'ci', { grants: ['read'], ttl: 10 * 366 * 24 * 3_600_000 }],
    ['a rate of 0', 'ci', { grants: ['read'], rate: 0 }],
    ['too high a rate', 'ci', { grants: ['read'], rate: 1_000_001 }],
    ['an unknown option', 'ci', { grants: ['read'], scope: 'x' } as never],
  ])('with %s are EINVAL', async (_, name, options) => {
    const { store } = await opened()
    expect((await refusal(store.tokens.create(name, options))).code).toBe('EINVAL')
    expect(await store.tokens.list()).toEqual([])
    await store.close()
  })

  it('with 65 grants are E2BIG, as over a server', async () => {
    const { store } = await opened()
    const grants = Array.from({ length: 65 }, () => 'read')
    expect((await refusal(store.tokens.create('ci', { grants }))).code).toBe('E2BIG')
    expect(await store.tokens.list()).toEqual([])
    expect(await store.tokens.create('ci', { grants: grants.slice(1) })).toMatchObject({
      id: expect.any(String),
    })
    await store.close()
  })

  it(`are at most ${accessTokensMax}`, async () => {
    const { store, clock } = await opened()
    const [created, expires] = [clock.now(), clock.now() + 10_000]
    const record = { name: 'ci', grants: ['read'], created, expires, id: '' }
    const value = encodeToken(record, Buffer.alloc(32))
    const ops = Array.from({ length: accessTokensMax - 1 }, (_, index) => {
      const key = `tokens/${index.toString(16).padStart(12, '0')}`
      return { op: 'put', key, value } as const
    })
    for (let at = 0; at < ops.length; at += 1_000) {
      await store.kvs.commit({ ops: ops.slice(at, at + 1_000) }, { namespace: 'system' })
    }
    const book = new TokenBook({ kvs: store.kvs, now: clock.now })
    const make = () => book.create('ci', { grants: ['read'], ttl: 10_000 })
    await make()
    expect((await refusal(make())).code).toBe('EBUSY')
    clock.advance(10_000)
    await make()
    await store.close()
  })
})
