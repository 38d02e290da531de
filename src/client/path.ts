/** Encodes keys and queries as the path of a request. See rfc/12, rule 2. Pure.
 *  Invariant: the server sees exactly the key that was asked for. `.` and `..`, which a URL would
 *  resolve away (percent-encoded too), are refused here. */

import { TailraceError } from '../error.js'
import { keySizeMax } from '../treeobj/key.js'

const encoder = new TextEncoder()

/** The fields of a query. A field that is undefined or false is left out. */
export type Query = Readonly<Record<string, string | number | boolean | undefined>>

/** Makes `/v1/ROUTE/KEY?query`. Throws EINVAL. */
export function pathOfKey(route: string, key: string, query: Query = {}): string {
  const components = componentsOf(key)
  return pathOf(`${route}/${components.map(encodeURIComponent).join('/')}`, query)
}

/** Makes `/v1/ROUTE?query`. Fields that are undefined or false are left out. Throws EINVAL. */
export function pathOf(route: string, query: Query = {}): string {
  const fields = Object.entries(query)
    .filter(([, value]) => value !== undefined && value !== false)
    .map(([name, value]) => `${name}=${encodeURIComponent(parseWellFormed(String(value)))}`)
  return fields.length === 0 ? `/v1/${route}` : `/v1/${route}?${fields.join('&')}`
}

/** Encodes one name in a path, such as a namespace or a job's id. Throws EINVAL. */
export function componentOf(name: string): string {
  if (name === '' || name === '.' || name === '..') {
    throw new TailraceError('EINVAL', `"${name}" is not a name`)
  }
  return encodeURIComponent(parseWellFormed(name))
}

/** Returns true if two keys have the same components, however their `/` are written. Throws
 *  EINVAL. */
export function sameKey(left: string, right: string): boolean {
  return componentsOf(left).join('/') === componentsOf(right).join('/')
}

/** Splits a key. Throws EINVAL for what a path cannot carry; the server refuses the rest. */
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
