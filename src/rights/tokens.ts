/** Access tokens: their text, their records in the namespace `system`, and the calls on them. See
 *  rfc/28, rules 4 to 7.
 *  Invariant: the store has the hash of a secret, never the secret. The tokens in memory are those
 *  of the store: whoever changes them changes both, one change at a time. */

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import {
  type AccessToken,
  type AccessTokens,
  accessTokensMax,
  accessTokenTtlDefault,
  accessTokenTtlMax,
  accessTokenTtlMin,
  type CreateTokenOptions,
  type LinkOptions,
  type NewAccessToken,
  type SignedLink,
  tokenNameMax,
  tokenRateMax,
} from '../api/access.js'
import type { Kvs } from '../api/kvs.js'
import { defined, invalid } from '../base/shape.js'
import { corrupt, isCount } from '../base/stored.js'
import { isCode, TailraceError } from '../error.js'
import { Grants } from './grants.js'
import { type LinkSubject, Links, ownerId, subjectOf } from './links.js'

export type { LinkSubject } from './links.js'

const directory = 'tokens'
const scope = { namespace: 'system' } as const
/** The tokens that one request to the store reads. */
const page = 1_000
const idSize = 6
const secretSize = 32
const textPattern = /^tailrace_([0-9a-f]{12})_([\w-]{43})$/

/** An access token in memory. */
export type HeldToken = {
  readonly token: AccessToken
  readonly grants: Grants
  /** The SHA-256 of the secret. */
  readonly hash: Buffer
}

/** The maker of a good link, and what the link gives. */
export type LinkHolder = {
  readonly maker: HeldToken | 'owner'
  readonly leftMs: number
  readonly follow: boolean
}

type TokenPorts = {
  /** Writes and reads the namespace `system`. */
  readonly kvs: Pick<Kvs, 'commit' | 'put' | 'get' | 'list' | 'readMany'>
  /** Returns the time of the wall clock, ms since 1970. */
  readonly now: () => number
}

/** The access tokens of a store, for its owner. Mutable. */
export class TokenBook implements AccessTokens {
  readonly #links: Links
  readonly #ports: TokenPorts
  readonly #listeners = new Set<() => void>()
  #held: Map<string, HeldToken> | undefined
  #loading: Promise<Map<string, HeldToken>> | undefined
  /** The end of the change that was begun last: they run one at a time. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(ports: TokenPorts) {
    this.#ports = ports
    this.#links = new Links(ports)
  }

  /** Reads all tokens, and the key of links, into memory. `find` needs it. Throws ECORRUPT, EIO. */
  async load(): Promise<void> {
    await this.#all()
    await this.#links.load()
  }

  /** Finds the token of a text; undefined for a text that is none, and for one that was revoked or has
   *  expired. Takes the same time for each wrong secret. REQUIRES: `load` has resolved. */
  find(text: string): HeldToken | undefined {
    const [, id = '', secret = ''] = textPattern.exec(text) ?? []
    const held = this.#held?.get(id)
    if (!held || !timingSafeEqual(hashOf(secret), held.hash)) return undefined
    return this.#isOver(held) ? undefined : held
  }

  /** Returns the token of an id; undefined if it was revoked or has expired. */
  byId(id: string): HeldToken | undefined {
    const held = this.#held?.get(id)
    return held && !this.#isOver(held) ? held : undefined
  }

  /** Returns the time at which a token ends unless it is revoked or renewed, ms since 1970: it expires, or
   *  one above it does. Undefined if it has ended. */
  endOf(id: string): number | undefined {
    const held = this.#held?.get(id)
    const end = held && this.#endOf(held)
    return end !== undefined && end > this.#ports.now() ? end : undefined
  }

  /** Returns the maker of a link of the subject, and the time for which the link is good, in ms. Throws
   *  EUNAUTH. REQUIRES: `load` has resolved. */
  ofLink(text: string, subject: LinkSubject): LinkHolder {
    const { maker, expires, follow } = this.#links.check(text, subject)
    const leftMs = expires - this.#ports.now()
    if (maker === ownerId) return { maker: 'owner', leftMs, follow }
    const held = this.byId(maker)
    if (held) return { maker: held, leftMs, follow }
    throw new TailraceError('EUNAUTH', 'the link is worth nothing any more: ask for another one')
  }

  /** Calls the listener when tokens were revoked or renewed, until it is disposed of. */
  listen(listener: () => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }

  /** Returns the calls of one who has an access token. */
  within(parent: Grants): AccessTokens {
    return {
      create: (name, options) => this.#create(name, options, parent),
      list: () => this.#list(parent),
      renew: (id, options) => this.#renew(id, options, parent),
      revoke: (id) => this.#revoke(id, parent),
      link: async (options) => {
        const { namespace, key } = subjectOf(options)
        parent.check('read', namespace, key)
        if (options.follow) parent.check('watch', namespace, key)
        return this.#links.make(options, parent.id)
      },
    }
  }

  create(name: string, options: CreateTokenOptions): Promise<NewAccessToken> {
    return this.#create(name, options)
  }

  list(): Promise<AccessToken[]> {
    return this.#list()
  }

  renew(id: string, options?: { readonly ttl?: number }): Promise<AccessToken> {
    return this.#renew(id, options)
  }

  revoke(id: string): Promise<string[]> {
    return this.#revoke(id)
  }

  async link(options: LinkOptions): Promise<SignedLink> {
    return this.#links.make(options, ownerId)
  }

  async #create(
    name: string,
    { grants: texts, ttl = accessTokenTtlDefault, rate }: CreateTokenOptions,
    parent?: Grants,
  ): Promise<NewAccessToken> {
    if (name === '' || name.length > tokenNameMax || !name.isWellFormed()) {
      throw invalid(`the name of a token is 1 to ${tokenNameMax} characters`)
    }
    if (texts.length === 0) throw invalid('a token has 1 grant or more')
    checkTtl(ttl)
    if (rate !== undefined && !isRate(rate)) {
      throw invalid(`the rate of a token is above 0, and at most ${tokenRateMax} requests a second`)
    }
    const id = randomBytes(idSize).toString('hex')
    const grants = new Grants({ id, name }, texts)
    const beyond = parent?.firstBeyond(grants)
    if (beyond !== undefined) parent?.refuse(`give ${beyond}`, 'no token gives more than it has')
    return this.#exclusively(async (all) => {
      const created = this.#ports.now()
      const expires = this.#expiry(created + ttl, parent)
      // The store has removed their keys.
      for (const [old, each] of all) if (this.#isOver(each)) all.delete(old)
      if (all.size >= accessTokensMax) {
        const message = `there are ${accessTokensMax} access tokens: revoke some first`
        throw new TailraceError('EBUSY', message)
      }
      const secret = randomBytes(secretSize).toString('base64url')
      const made = { id, name, grants: [...texts], created, expires, ...defined({ rate }) }
      const token = parent ? { ...made, parent: parent.id } : made
      const held = { token, grants, hash: hashOf(secret) }
      await this.#write(held, created)
      all.set(id, held)
      return { ...token, token: `tailrace_${id}_${secret}` }
    })
  }

  async #list(parent?: Grants): Promise<AccessToken[]> {
    const all = await this.#all()
    return [...all.values()]
      .filter((held) => !this.#isOver(held) && isMadeBy(all, held, parent))
      .map(({ token }) => token)
      .sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1))
  }

  #renew(
    id: string,
    { ttl = accessTokenTtlDefault }: { readonly ttl?: number } = {},
    parent?: Grants,
  ): Promise<AccessToken> {
    return this.#exclusively(async (all) => {
      checkTtl(ttl)
      const held = this.#madeBy(all, id, parent)
      const now = this.#ports.now()
      const above = held.token.parent === undefined ? undefined : all.get(held.token.parent)
      const expires = this.#expiry(now + ttl, parent, above?.grants)
      const renewed = { ...held, token: { ...held.token, expires } }
      await this.#write(renewed, now)
      all.set(id, renewed)
      this.#tell()
      return renewed.token
    })
  }

  #revoke(id: string, parent?: Grants): Promise<string[]> {
    return this.#exclusively(async (all) => {
      const { grants } = this.#madeBy(all, id, parent)
      const below = [...all.values()].filter((held) => isMadeBy(all, held, grants))
      const ids = [id, ...below.map(({ token }) => token.id)]
      const ops = ids.map((each) => ({ op: 'unlink', key: keyOf(each) }) as const)
      await this.#ports.kvs.commit({ ops }, scope)
      for (const each of ids) all.delete(each)
      this.#tell()
      return ids
    })
  }

  /** Returns a time of expiry that is not behind those of the tokens above. Throws EPERM. */
  #expiry(expires: number, ...above: readonly (Grants | undefined)[]): number {
    for (const grants of above) {
      const parent = grants && this.byId(grants.id)
      if (!parent || expires <= parent.token.expires) continue
      const until = new Date(parent.token.expires).toISOString()
      grants.refuse('give more time', `it expires itself at ${until}: ask for a shorter ttl`)
    }
    return expires
  }

  /** Returns the token of an id that `parent` may change. Throws ENOENT. */
  #madeBy(all: Map<string, HeldToken>, id: string, parent: Grants | undefined): HeldToken {
    const held = all.get(id)
    if (held && !this.#isOver(held) && isMadeBy(all, held, parent)) return held
    throw new TailraceError('ENOENT', `there is no access token ${id}: "token ls" lists them`)
  }

  /** True if a token, or one above it, has expired or was revoked. */
  #isOver(held: HeldToken): boolean {
    return this.#endOf(held) <= this.#ports.now()
  }

  /** Returns the earliest expiry of a token and of those above it; 0 if one of them was revoked. */
  #endOf(held: HeldToken): number {
    let end = Infinity
    let each: HeldToken | undefined = held
    while (each) {
      const { expires, parent }: AccessToken = each.token
      end = Math.min(end, expires)
      if (parent === undefined) return end
      each = this.#held?.get(parent)
    }
    return 0
  }

  #tell(): void {
    for (const listener of this.#listeners) listener()
  }

  async #write({ token, hash }: HeldToken, now: number): Promise<void> {
    // The key goes with the token: who lists the namespace `system` sees those that are in force.
    const ttl = Math.max(accessTokenTtlMin, token.expires - now)
    await this.#ports.kvs.put(keyOf(token.id), encodeToken(token, hash), { ...scope, ttl })
  }

  #exclusively<T>(act: (all: Map<string, HeldToken>) => Promise<T>): Promise<T> {
    const done = this.#last.then(() => this.#all()).then(act)
    this.#last = done.catch(() => {}) // the caller gets the error by `done`
    return done
  }

  async #all(): Promise<Map<string, HeldToken>> {
    if (this.#held) return this.#held
    this.#loading ??= this.#read().finally(() => {
      this.#loading = undefined
    })
    this.#held = await this.#loading
    return this.#held
  }

  async #read(): Promise<Map<string, HeldToken>> {
    const all = new Map<string, HeldToken>()
    const { kvs } = this.#ports
    for (let after: string | undefined; ; ) {
      const options = { ...scope, limit: page, ...(after !== undefined && { after }) }
      const listing = await kvs.list(directory, options).catch((error: unknown) => {
        if (isCode(error, 'ENOENT')) return undefined
        throw error
      })
      const ids = listing?.entries.map(({ name }) => name) ?? []
      const { values } = await kvs.readMany(ids.map(keyOf), scope)
      for (const [index, id] of ids.entries()) {
        const bytes = values[index]
        if (bytes) all.set(id, decodeToken(id, bytes))
      }
      after = ids.at(-1)
      if (!listing?.more) return all
    }
  }
}

/** True if a token was made by another one, or by one that this one made. Undefined is the owner, who
 *  made all. */
function isMadeBy(
  all: ReadonlyMap<string, HeldToken>,
  { token }: HeldToken,
  parent: Grants | undefined,
): boolean {
  if (!parent) return true
  for (let above = token.parent; above !== undefined; above = all.get(above)?.token.parent) {
    if (above === parent.id) return true
  }
  return false
}

function checkTtl(ttl: number): void {
  if (ttl >= accessTokenTtlMin && ttl <= accessTokenTtlMax) return
  throw invalid(`the ttl of a token is ${accessTokenTtlMin} to ${accessTokenTtlMax} ms`)
}

function isRate(rate: unknown): rate is number {
  return typeof rate === 'number' && rate > 0 && rate <= tokenRateMax
}

function keyOf(id: string): string {
  return `${directory}/${id}`
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}

/** Encodes the record of a token (rfc/28, rule 5). */
export function encodeToken(token: AccessToken, hash: Buffer): string {
  const { name, grants, created, expires, rate, parent } = token
  const fields = { v: 1, name, hash: hash.toString('hex'), grants, created, expires }
  // JSON leaves out what is undefined.
  return JSON.stringify({ ...fields, rate, parent })
}

/** Decodes the record of a token. Throws ECORRUPT. */
export function decodeToken(id: string, bytes: Uint8Array): HeldToken {
  try {
    const { v, name, hash, grants, created, expires, rate, parent } = JSON.parse(
      new TextDecoder('utf-8', { fatal: true }).decode(bytes),
    ) as Readonly<Record<string, unknown>>
    const isText = (field: unknown): field is string => typeof field === 'string'
    const isWhole = v === 1 && isText(name) && isText(hash) && /^[0-9a-f]{64}$/.test(hash)
    const isDated = isCount(created) && isCount(expires)
    const isMade = (parent === undefined || isText(parent)) && (rate === undefined || isRate(rate))
    if (isWhole && isDated && isMade && Array.isArray(grants) && grants.every(isText)) {
      const token = { id, name, grants, created, expires, ...defined({ rate, parent }) }
      return { token, grants: new Grants(token, grants), hash: Buffer.from(hash, 'hex') }
    }
  } catch {
    // A record that cannot be parsed is damaged.
  }
  throw corrupt(`the record of the access token ${id}`)
}
