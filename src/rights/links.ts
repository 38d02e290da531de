/** Links: signed paths that let who has no token read one key or one job. See rfc/28, rules 14 and
 *  15.
 *  Invariant: a signature is good for one key or job, one kind, one time and one maker. Links are not
 *  kept. */

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import {
  type LinkOptions,
  linkTtlDefault,
  linkTtlMax,
  linkTtlMin,
  type SignedLink,
} from '../api/access.js'
import type { Kvs } from '../api/kvs.js'
import { jobsNamespace, primary } from '../api/namespace.js'
import { invalid } from '../base/shape.js'
import { corrupt } from '../base/stored.js'
import { isCode, TailraceError } from '../error.js'
import { parseKey, parseNamespaceName } from '../treeobj/key.js'

/** The maker of a link: the id of an access token, or the owner. */
export const ownerId = 'owner'

/** The key or the job of a link. */
export type LinkSubject = {
  readonly what: 'key' | 'job'
  readonly namespace: string
  /** A normal key, or the id of a job. */
  readonly key: string
}

/** The claims of a good link. */
export type LinkClaims = {
  readonly maker: string
  /** The time from which on it is worth nothing, ms since 1970. */
  readonly expires: number
  readonly follow: boolean
}

type LinkPorts = {
  /** Writes and reads the namespace `system`. */
  readonly kvs: Pick<Kvs, 'put' | 'get'>
  /** Returns the time of the wall clock, ms since 1970. */
  readonly now: () => number
}

const keyName = 'link-key'
const keySize = 32
const scope = { namespace: 'system' } as const
const textPattern = /^([rf])\.(\d{1,15})\.([0-9a-f]{12}|owner)\.([\w-]{43})$/

/** Signs links, and checks them. Mutable. */
export class Links {
  readonly #ports: LinkPorts
  #key: Uint8Array | undefined

  constructor(ports: LinkPorts) {
    this.#ports = ports
  }

  /** Reads the key of the signatures, if there is one. `check` needs it. Throws ECORRUPT, EIO. */
  async load(): Promise<void> {
    const key = await this.#ports.kvs.get(keyName, scope)
    if (key && key.length !== keySize) throw corrupt('the key of links')
    this.#key ??= key
  }

  /** Makes a link. The first one makes the key of the signatures. Throws EINVAL. */
  async make(options: LinkOptions, maker: string): Promise<SignedLink> {
    const { ttl = linkTtlDefault, follow = false } = options
    if (ttl < linkTtlMin || ttl > linkTtlMax) {
      throw invalid(`the ttl of a link is ${linkTtlMin} to ${linkTtlMax} ms`)
    }
    const subject = subjectOf(options)
    const expires = this.#ports.now() + ttl
    const kind = follow ? 'f' : 'r'
    const key = this.#key ?? (await this.#makeKey())
    const claims = { maker, expires, follow }
    const link = `${kind}.${expires}.${maker}.${signatureOf(key, subject, claims)}`
    return { path: `${pathOf(subject, follow)}link=${link}`, expires }
  }

  /** Returns what a link says, if it is one of the subject. Throws EUNAUTH. REQUIRES: `load` has
   *  resolved. */
  check(text: string, subject: LinkSubject): LinkClaims {
    const [, kind, digits, maker = '', signature = ''] = textPattern.exec(text) ?? []
    const claims = { maker, expires: Number(digits), follow: kind === 'f' }
    const isGood =
      this.#key !== undefined &&
      kind !== undefined &&
      timingSafeEqual(Buffer.from(signature), Buffer.from(signatureOf(this.#key, subject, claims)))
    if (!isGood) throw new TailraceError('EUNAUTH', 'the link is none of this key or job')
    if (claims.expires > this.#ports.now()) return claims
    throw new TailraceError('EUNAUTH', 'the link has expired: ask for another one')
  }

  async #makeKey(): Promise<Uint8Array> {
    const guards = [{ key: keyName, absent: true }] as const
    try {
      await this.#ports.kvs.put(keyName, randomBytes(keySize), { ...scope, guards })
    } catch (error) {
      if (!isCode(error, 'ECONFLICT')) throw error // somebody else has made it
    }
    await this.load()
    if (this.#key) return this.#key
    throw corrupt('the key of links')
  }
}

/** Returns the key or job that the options name. Throws EINVAL. */
export function subjectOf({ key, job, namespace }: LinkOptions): LinkSubject {
  if ((key === undefined) === (job === undefined)) throw invalid('a link is of a key or of a job')
  if (job !== undefined) {
    if (namespace !== undefined) throw invalid('namespace means nothing in the link of a job')
    return { what: 'job', namespace: jobsNamespace, key: job }
  }
  const name = parseKey(key)
  if (name === '') throw invalid('a link is of a key, not of the root directory')
  return { what: 'key', namespace: parseNamespaceName(namespace ?? primary), key: name }
}

/** Returns the text that a link signs. */
export function signedText(subject: LinkSubject, { maker, expires, follow }: LinkClaims): string {
  const { what, namespace, key } = subject
  return JSON.stringify([1, follow ? 'f' : 'r', expires, maker, what, namespace, key])
}

function signatureOf(key: Uint8Array, subject: LinkSubject, claims: LinkClaims): string {
  return createHmac('sha256', key).update(signedText(subject, claims)).digest('base64url')
}

function pathOf({ what, namespace, key }: LinkSubject, follow: boolean): string {
  const path = key.split('/').map(encodeURIComponent).join('/')
  const followed = follow ? 'follow=true&' : ''
  if (what === 'job') return `/v1/jobs/${path}/output?${followed}`
  return `/v1/kv/${path}?${namespace === primary ? '' : `namespace=${namespace}&`}${followed}`
}
