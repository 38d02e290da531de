/** Requests that bring a link or a ticket in the place of a token. See rfc/28, rules 14, 16 and 17.
 *  Pure. */

import { jobsNamespace } from '../api/namespace.js'
import { invalid } from '../base/shape.js'
import { TailraceError } from '../error.js'
import type { LinkSubject } from '../rights/tokens.js'
import { parseKey } from '../treeobj/key.js'
import type { RequestSpec } from '../wire/request.js'

/** The parameters that stand in the place of a token. No request takes them for anything else. */
export const secretParameters: ReadonlySet<string> = new Set(['link', 'ticket'])

const ofKeys: ReadonlySet<string> = new Set(['key.get', 'key.head', 'eventlog.read'])
const ofJobs: ReadonlySet<string> = new Set(['jobs.show', 'jobs.output', 'jobs.events'])
const reading = ['key', 'id', 'namespace', 'index', 'from', 'to', 'position', 'stream', 'since']
const given: ReadonlySet<string> = new Set([...reading, 'lines'])
const following: ReadonlySet<string> = new Set([
  ...['follow', 'waitCreate', 'waitEvent', 'heartbeat', 'wait'],
])

/** The secret that a query has. */
export type QuerySecret = { readonly kind: 'link' | 'ticket'; readonly text: string }

/** Returns the link or the ticket in the query of a request target. Throws EINVAL for several. */
export function querySecretOf(url: string): QuerySecret | undefined {
  if (!url.includes('?')) return undefined
  const found = [...url.matchAll(/[?&](link|ticket)=([^&#]*)/g)]
  const [first] = found
  if (!first) return undefined
  if (found.length > 1) throw invalid('a request brings one link or ticket')
  return { kind: first[1] === 'link' ? 'link' : 'ticket', text: first[2] ?? '' }
}

/** Returns a request target without its secret, for people. */
export function withoutSecrets(url: string): string {
  return url.replace(/([?&](?:link|ticket)=)[^&#\s]*/g, '$1…')
}

/** Returns the key or the job that a request reads. Throws EPERM for a request that no link gives. */
export function linkedSubject(
  { name }: RequestSpec,
  args: Readonly<Record<string, unknown>>,
): LinkSubject {
  const { key, id, namespace } = args
  if (ofKeys.has(name)) return { what: 'key', namespace: String(namespace), key: parseKey(key) }
  if (ofJobs.has(name)) return { what: 'job', namespace: jobsNamespace, key: String(id) }
  throw new TailraceError('EPERM', 'a link gives one key, its eventlog or one job, to be read')
}

/** Throws EPERM for an argument that a link does not give. */
export function checkLinkedArgs(
  args: Readonly<Record<string, unknown>>,
  { follow }: { readonly follow: boolean },
): void {
  for (const [name, value] of Object.entries(args)) {
    if (value === undefined || given.has(name)) continue
    if (following.has(name)) {
      if (follow || value === false) continue
      throw new TailraceError('EPERM', `?${name} needs a link that was made to follow`)
    }
    throw new TailraceError('EPERM', `a link gives no ?${name}`)
  }
}
