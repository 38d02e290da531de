/** Who may talk to the server: addresses, Host and Origin, the token. See rfc/13, rules 6 and 7.
 *  Pure. Invariant: no web page reaches a local server unless its origin was named. */

import { createHash, timingSafeEqual } from 'node:crypto'
import { isIP } from 'node:net'
import { TailraceError } from '../error.js'

export type Address = { readonly host: string; readonly port: number }

/** Names that a request may call the server by, and pages that may use it. */
export type Access = {
  /** Lower case, without port. */
  readonly hosts: ReadonlySet<string>
  readonly origins: ReadonlySet<string>
}

/** `HOST:PORT`, `[V6]:PORT`. Throws EINVAL. */
export function parseAddress(input: string): Address {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s/]+)):([0-9]{1,5})$/.exec(input)
  const port = Number(match?.[3])
  if (!match || port > 65_535) {
    throw new TailraceError('EINVAL', `"${input}" is no address: HOST:PORT, port 0 for a free one`)
  }
  return { host: match[1] ?? match[2] ?? '', port }
}

export function formatAddress(address: Address): string {
  const { host, port } = address
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`
}

/** Reachable from this machine only. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

/** What the server at these addresses answers to. */
export function accessOf(options: {
  readonly addresses: readonly Address[]
  readonly allowHosts: readonly string[]
  readonly allowOrigins: readonly string[]
}): Access {
  const own = options.addresses.map(({ host }) => host.toLowerCase())
  const hosts = new Set([
    'localhost',
    ...own,
    ...options.allowHosts.map((host) => host.toLowerCase()),
  ])
  const origins = options.addresses.flatMap(({ host, port }) => {
    const names = isLoopback(host) ? [host, 'localhost'] : [host]
    return names.map((name) => `http://${formatAddress({ host: name.toLowerCase(), port })}`)
  })
  return { hosts, origins: new Set([...origins, ...options.allowOrigins]) }
}

/** Throws EPERM. `header` may hold a port; which one does not matter (it may be forwarded). */
export function checkHost(access: Access, header: string | undefined): void {
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::[0-9]*)?$/.exec(header ?? '')
  const host = (match?.[1] ?? match?.[2] ?? '').toLowerCase()
  if (host !== '' && access.hosts.has(host)) return
  throw new TailraceError(
    'EPERM',
    `the server does not answer to the host "${header ?? ''}": name it with --allow-host`,
  )
}

/** Throws EPERM. No Origin: not a web page. */
export function checkOrigin(access: Access, origin: string | undefined): void {
  if (origin === undefined || access.origins.has(origin)) return
  throw new TailraceError(
    'EPERM',
    `pages of ${origin} may not use this server: name it with --allow-origin`,
  )
}

/** Throws EUNAUTH. Takes the same time for every wrong token. */
export function checkToken(token: string, given: string | undefined): void {
  if (given !== undefined && timingSafeEqual(digestOf(token), digestOf(given))) return
  throw new TailraceError(
    'EUNAUTH',
    'a token is needed: `tailrace token` shows it; send it as "Authorization: Bearer TOKEN"',
  )
}

/** The token of an `Authorization` header; undefined where it is of another kind. */
export function bearerOf(header: string | undefined): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(header ?? '')?.[1]
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
