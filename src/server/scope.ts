/** The namespace of a request. See rfc/12, rules 2 and 8. */

import { primary, reservedNamespaces } from '../api/namespace.js'
import { invalid } from '../base/shape.js'
import { TailraceError } from '../error.js'
import type { Request } from './app.js'

/** Returns the namespace in the query; `primary` if it is left out. Throws EINVAL. */
export function namespaceOf(request: Request): string {
  const { namespace, ns } = request.query as { readonly namespace?: unknown; readonly ns?: unknown }
  if (namespace !== undefined && ns !== undefined) throw invalid('?ns and ?namespace are the same')
  const name = namespace ?? ns ?? primary
  if (typeof name !== 'string') throw invalid('?namespace may stand once only')
  return name
}

/** Returns the namespace. Throws EPERM if it is reserved. */
export function checkWritable(namespace: string): string {
  if (!reservedNamespaces.has(namespace)) return namespace
  throw new TailraceError(
    'EPERM',
    `the namespace "${namespace}" is reserved: it is written through its own operations only`,
  )
}
