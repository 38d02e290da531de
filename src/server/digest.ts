/** Checksums that a client sends with a body: `Content-Digest` and `Repr-Digest` (RFC 9530),
 *  `Digest` (RFC 3230), `Content-MD5`. See rfc/12, rule 25.
 *  Invariant: a body that does not match a checksum of its request is not stored. */

import { createHash, type Hash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { invalid } from '../base/shape.js'

/** The names of the algorithms in Node, by their names in headers. */
const algorithms: ReadonlyMap<string, string> = new Map([
  ['sha-256', 'sha256'],
  ['sha-512', 'sha512'],
  ['sha', 'sha1'],
  ['md5', 'md5'],
])
/** The largest number of checksums of one request. */
const digestsMax = 8

type Expected = { readonly header: string; readonly hash: Hash; readonly digest: string }

/** Checks a body against its checksums: `update` with each part of the body, then `check` once. */
export class BodyDigest {
  readonly #expected: readonly Expected[]

  private constructor(expected: readonly Expected[]) {
    this.#expected = expected
  }

  /** Returns the check that the headers ask for; undefined if they have no checksum. Throws EINVAL
   *  if a header cannot be parsed, or if none of its algorithms is known. */
  static of(headers: IncomingHttpHeaders): BodyDigest | undefined {
    const expected = [
      ...dictionaryOf(headers, 'content-digest'),
      ...dictionaryOf(headers, 'repr-digest'),
      ...instancesOf(headers),
      ...md5Of(headers),
    ]
    if (expected.length > digestsMax) throw invalid(`a body has at most ${digestsMax} checksums`)
    return expected.length === 0 ? undefined : new BodyDigest(expected)
  }

  update(bytes: Uint8Array): void {
    for (const { hash } of this.#expected) hash.update(bytes)
  }

  /** Throws EINVAL if the body does not match. REQUIRES: it is called once, after the whole
   *  body. */
  check(): void {
    for (const { header, hash, digest } of this.#expected) {
      if (hash.digest('base64') === digest) continue
      throw invalid(`the body is not what ${header} says: nothing was done; send it again`)
    }
  }
}

/** Parses the form `sha-256=:BASE64:, …` of RFC 9530. */
function dictionaryOf(headers: IncomingHttpHeaders, header: string): Expected[] {
  return knownOf(headers, header, (value) => /^:([A-Za-z0-9+/]*={0,2}):$/.exec(value)?.[1])
}

/** Parses the form `SHA-256=BASE64, …` of RFC 3230. */
function instancesOf(headers: IncomingHttpHeaders): Expected[] {
  return knownOf(headers, 'digest', (value) => /^[A-Za-z0-9+/]+={0,2}$/.exec(value)?.[0])
}

function md5Of(headers: IncomingHttpHeaders): Expected[] {
  const digest = headers['content-md5']
  if (typeof digest !== 'string') return []
  return [{ header: 'Content-MD5', hash: createHash('md5'), digest: digest.trim() }]
}

/** Returns the checksums of a header whose algorithms are known. Throws EINVAL if there is none. */
function knownOf(
  headers: IncomingHttpHeaders,
  header: string,
  read: (value: string) => string | undefined,
): Expected[] {
  const text = headers[header]
  if (typeof text !== 'string') return []
  const expected = text.split(',').flatMap((member) => {
    const [, name = '', value = ''] = /^ *([A-Za-z0-9-]+)=([^ ]*) *$/.exec(member) ?? []
    const algorithm = algorithms.get(name.toLowerCase())
    const digest = read(value)
    if (name === '' || digest === undefined) throw invalid(`${header} cannot be read`)
    return algorithm ? [{ header, hash: createHash(algorithm), digest }] : []
  })
  if (expected.length > 0) return expected
  throw invalid(`${header} has none of ${[...algorithms.keys()].join(', ')}`)
}
