/** Names of namespaces, in links and in requests. See rfc/6. */

import { TailraceError } from '../error.js'

const pattern = /^[a-z0-9][a-z0-9_-]{0,62}$/

/** True if a text is the name of a namespace. */
export function isNamespaceName(text: string): boolean {
  return pattern.test(text)
}

/** Returns `input` as the name of a namespace. Throws EINVAL. */
export function parseNamespaceName(input: unknown): string {
  if (typeof input !== 'string' || !isNamespaceName(input)) {
    throw new TailraceError(
      'EINVAL',
      'a namespace is 1 to 63 of a-z, 0-9, "_" and "-", and starts with a letter or digit',
    )
  }
  return input
}
