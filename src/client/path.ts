/** Keys and queries as paths of a request. See rfc/12, rule 2. Pure.
 *  Invariant: the server sees exactly the key that was asked for: what a URL would resolve away
 *  (`.` and `..`, percent-encoded too) never leaves. */

import { TailraceError } from '../error.js'
import { keySizeMax } from '../tree/key.js'

const encoder = new TextEncoder()

export type Query = Readonly<Record<string, string | number | boolean | undefined>>

/** `/v1/ROUTE/KEY?query`. Throws EINVAL. */
export function pathOfKey(route: string, key: string, query: Query = {}): string {
  const components = componentsOf(key)
  return pathOf(`${route}/${components.map(encodeURIComponent).join('/')}`, query)
}

/** `/v1/ROUTE?query`; what is undefined or false is left out. */
export function pathOf(route: string, query: Query = {}): string {
  const fields = Object.entries(query)
    .filter(([, value]) => value !== undefined && value !== false)
    .map(([name, value]) => `${name}=${encodeURIComponent(parseWellFormed(String(value)))}`)
  return fields.length === 0 ? `/v1/${route}` : `/v1/${route}?${fields.join('&')}`
}

/** One name in a path, such as a namespace or a job's id. Throws EINVAL. */
export function componentOf(name: string): string {
  if (name === '' || name === '.' || name === '..') {
    throw new TailraceError('EINVAL', `"${name}" is not a name`)
  }
  return encodeURIComponent(parseWellFormed(name))
}

/** Do two keys name the same thing, however their `/` are written? */
export function sameKey(left: string, right: string): boolean {
  return componentsOf(left).join('/') === componentsOf(right).join('/')
}

/** The rest of what a key may not hold is the server's to refuse. */
function componentsOf(key: string): string[] {
  const components = parseWellFormed(key)
    .split('/')
    .filter((component) => component !== '')
  if (components.some((component) => component === '.' || component === '..')) {
    throw new TailraceError('EINVAL', 'a component of a key may not be "." or ".."')
  }
  if (encoder.encode(components.join('/')).length > keySizeMax) {
    throw new TailraceError('EINVAL', `a key has at most ${keySizeMax} bytes`)
  }
  return components
}

function parseWellFormed(text: string): string {
  if (typeof text !== 'string' || !text.isWellFormed()) {
    throw new TailraceError('EINVAL', 'a key must be well-formed UTF-8')
  }
  return text
}
