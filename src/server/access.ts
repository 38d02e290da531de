/** Checks of access to the server: its addresses, Host and Origin, the token. See rfc/13, rules 6
 *  and 7. Pure.
 *  Invariant: no web page reaches a local server unless its origin was named. */

import { createHash, timingSafeEqual } from 'node:crypto'
import { isIP } from 'node:net'
import { TailraceError } from '../error.js'

/** A TCP address. The port 0 stands for a free one. */
export type Address = { readonly host: string; readonly port: number }

/** The hosts that a request may name the server by, and the origins whose pages may use it. */
export type Access = {
  /** Host names in lower case, without a port. */
  readonly hosts: ReadonlySet<string>
  readonly origins: ReadonlySet<string>
}

/** Parses `HOST:PORT` or `[V6]:PORT`. Throws EINVAL. */
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

export type Scheme = 'http' | 'https'

/** Returns the origin of a server's pages. A browser leaves the scheme's own port out. */
export function originOf(scheme: Scheme, address: Address): string {
  const origin = `${scheme}://${formatAddress(address)}`
  return address.port === (scheme === 'http' ? 80 : 443) ? origin.replace(/:[0-9]+$/, '') : origin
}

/** True if only this machine can reach the host. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

/** Returns the hosts and origins that a server at these addresses accepts. */
export function accessOf(options: {
  readonly addresses: readonly Address[]
  readonly scheme: Scheme
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
    return names.map((name) => originOf(options.scheme, { host: name.toLowerCase(), port }))
  })
  return { hosts, origins: new Set([...origins, ...options.allowOrigins]) }
}

/** Throws EPERM if the server does not have this name. The header may have any port, since ports
 *  may be forwarded. */
export function checkHost(access: Access, header: string | undefined): void {
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::[0-9]*)?$/.exec(header ?? '')
  const host = (match?.[1] ?? match?.[2] ?? '').toLowerCase()
  if (host !== '' && access.hosts.has(host)) return
  throw new TailraceError(
    'EPERM',
    `the server does not answer to the host "${header ?? ''}": name it with --allow-host`,
  )
}

/** Throws EPERM if pages of this origin may not use the server. A request without an Origin does
 *  not come from a web page. */
export function checkOrigin(access: Access, origin: string | undefined): void {
  if (origin === undefined || access.origins.has(origin)) return
  throw new TailraceError(
    'EPERM',
    `pages of ${origin} may not use this server: name it with --allow-origin`,
  )
}

/** True if the given token is the same one. Takes the same time for every wrong token. */
export function isToken(token: string, given: string): boolean {
  return timingSafeEqual(digestOf(token), digestOf(given))
}

/** Returns the token of an `Authorization: Bearer` header; undefined for another kind of header. */
export function bearerOf(header: string | undefined): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(header ?? '')?.[1]
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
