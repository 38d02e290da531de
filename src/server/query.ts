/** A request's key, namespace, query and conditions, read once. See rfc/12, rules 2 and 5.
 *  Invariant: a parameter that the route does not know is EINVAL. */

import { primary, reservedNamespaces } from '../api/namespace.js'
import { isBlobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import { invalid } from '../wire/parse.js'
import type { Request } from './app.js'

/** How a parameter is written: `?flag`, `?flag=true`; a decimal integer; a seq or a ref; text as it is. */
type Kind = 'flag' | 'integer' | 'at' | 'text'
type Kinds = { readonly [name: string]: Kind }
type Values = {
  readonly flag: boolean
  readonly integer: number
  readonly at: number | string
  readonly text: string
}
export type Query<K extends Kinds> = { readonly [name in keyof K]?: Values[K[name]] }

/** The parameters of a route besides `namespace` and `ns`. Throws EINVAL. */
export function queryOf<const K extends Kinds>(request: Request, kinds: K): Query<K> {
  const parsed: Record<string, boolean | number | string> = {}
  for (const [name, text] of Object.entries(request.query as Record<string, unknown>)) {
    if (name === 'namespace' || name === 'ns') continue
    const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined
    if (kind === undefined) {
      const known = ['namespace', ...Object.keys(kinds)].join(', ')
      throw invalid(`there is no parameter "${name}" here; there are ${known}`)
    }
    if (typeof text !== 'string') throw invalid(`?${name} may stand once only`)
    parsed[name] = parameterOf(kind, name, text)
  }
  return parsed as Query<K>
}

/** Of a route that takes no parameter, the namespace neither. */
export function checkNoQuery(request: Request): void {
  queryOf(request, {})
  const names = Object.keys(request.query as object)
  if (names.length > 0) throw invalid(`?${names[0]} means nothing here`)
}

/** `primary` if left out. Throws EINVAL. */
export function namespaceOf(request: Request): string {
  const { namespace, ns } = request.query as { readonly namespace?: unknown; readonly ns?: unknown }
  if (namespace !== undefined && ns !== undefined) throw invalid('?ns and ?namespace are the same')
  const name = namespace ?? ns ?? primary
  if (typeof name !== 'string') throw invalid('?namespace may stand once only')
  return name
}

/** The same, of a request that writes. Throws EPERM (reserved). */
export function writableNamespaceOf(request: Request): string {
  return checkWritable(namespaceOf(request))
}

/** Throws EPERM. */
export function checkWritable(namespace: string): string {
  if (!reservedNamespaces.has(namespace)) return namespace
  throw new TailraceError(
    'EPERM',
    `the namespace "${namespace}" is reserved: it is written through its own operations only`,
  )
}

/** What stands for `*` in the route: a key, decoded. */
export function keyOf(request: Request): string {
  return (request.params as { readonly '*'?: string })['*'] ?? ''
}

/** What stands for `:id` or `:name` in the route. */
export function nameOf(request: Request): string {
  return (request.params as { readonly name?: string }).name ?? ''
}

function parameterOf(kind: Kind, name: string, text: string): boolean | number | string {
  switch (kind) {
    case 'text':
      return text
    case 'flag':
      if (text === '' || text === 'true') return true
      if (text === 'false') return false
      throw invalid(`?${name} is true or false`)
    case 'integer': {
      const value = integerOf(text)
      if (value === undefined) throw invalid(`?${name} must be an integer`)
      return value
    }
    case 'at': {
      const seq = integerOf(text)
      if (seq !== undefined) return seq
      if (isBlobref(text)) return text
      throw invalid(`?${name} must be a seq or the ref of a root`)
    }
    default:
      return kind satisfies never
  }
}

function integerOf(text: string): number | undefined {
  const value = Number(text)
  return /^-?[0-9]{1,16}$/.test(text) && Number.isSafeInteger(value) ? value : undefined
}
