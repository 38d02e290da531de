/** Grants: their text, what they cover, and the rights of one access token. See rfc/28, rules 2, 3
 *  and 6. Pure.
 *  Invariant: what no grant names is refused. A refusal says what was asked for and what is granted,
 *  and nothing of the store. */

import { grantsMax } from '../api/access.js'
import { jobsNamespace, layerPrefix, primary, reservedNamespaces } from '../api/namespace.js'
import { invalid } from '../base/shape.js'
import { TailraceError } from '../error.js'
import type { KeyRight, Rights } from '../tree/rights.js'
import { isNamespaceName, parseKey, shownKey } from '../treeobj/key.js'

/** A right of a grant. */
export type GrantRight = KeyRight | 'jobs' | 'results' | 'admin' | 'metrics'

/** A grant that was parsed. */
type Grant = {
  readonly rights: ReadonlySet<GrantRight>
  /** The name of a namespace; with `isPattern` the first letters of names. Empty with the right
   *  `metrics`, which is of no namespace. */
  readonly namespace: string
  readonly isPattern: boolean
  /** The key with all that is below it; empty: the whole namespace. */
  readonly key: string
}

const keyRights: readonly KeyRight[] = ['read', 'append', 'write', 'watch', 'lease']
const all: readonly GrantRight[] = [...keyRights, 'jobs', 'results', 'admin', 'metrics']

/** The rights of one access token. */
export class Grants implements Rights {
  readonly id: string
  readonly texts: readonly string[]
  readonly #name: string
  readonly #grants: readonly Grant[]

  /** Parses grants; `token` is their token. Without a grant everything is refused. Throws
   *  EINVAL, E2BIG (more than `grantsMax`). */
  constructor(token: { readonly id: string; readonly name: string }, texts: readonly string[]) {
    if (texts.length > grantsMax) {
      const message = `a token has at most ${grantsMax} grants, not ${texts.length}`
      throw new TailraceError('E2BIG', message)
    }
    this.id = token.id
    this.texts = texts
    this.#name = token.name
    this.#grants = texts.map(parseGrant)
  }

  /** True if the right is granted on a key and all that is below it. REQUIRES: `key` is normal. */
  has(right: GrantRight, namespace: string, key: string): boolean {
    return this.#grants.some(
      (grant) => implies(grant, right) && isNamed(grant, namespace) && isAtOrBelow(key, grant.key),
    )
  }

  check(right: KeyRight, namespace: string, key: string): void {
    if (this.has(right, namespace, key)) return
    throw this.#refusal(`may not ${verbs[right]} ${shownKey(key)} in namespace ${namespace}`)
  }

  checkLinked(right: KeyRight, namespace: string, key: string): void {
    if (this.has(right, namespace, key)) return
    throw this.#refusal(`may not ${verbs[right]} where a link on the way leads`)
  }

  /** Throws EPERM if the right is not granted on the whole namespace. `act` says for what it is needed:
   *  "list the roots of primary". */
  checkWhole(right: GrantRight, namespace: string, act: string): void {
    if (this.has(right, namespace, '')) return
    throw this.#refusal(`may not ${act}: it needs ${right}@${namespace}`)
  }

  /** Throws EPERM if nothing at all is granted in the namespace. */
  checkAny(namespace: string): void {
    if (this.#grants.some((grant) => isNamed(grant, namespace))) return
    throw this.#refusal(`has nothing to do with the namespace ${namespace}`)
  }

  /** Throws EPERM unless the right `metrics` is granted. */
  checkMetrics(): void {
    if (this.#grants.some(({ rights }) => rights.has('metrics'))) return
    throw this.#refusal('may not see the metrics of the server: it needs the right metrics')
  }

  /** Throws EPERM, since only the owner may do this. `why` says the reason. */
  refuse(act: string, why: string): never {
    throw this.#refusal(`may not ${act}: ${why}`)
  }

  /** Returns the first grant of another token that these may not give: all of it must lie within them,
   *  and in namespaces that they administer. Undefined if they may give all. */
  firstBeyond(other: Grants): string | undefined {
    const at = other.#grants.findIndex((grant) => !this.#covers(grant))
    return at < 0 ? undefined : other.texts[at]
  }

  #covers(wanted: Grant): boolean {
    // It is of no namespace that somebody could administer: the owner alone gives it.
    if (wanted.rights.has('metrics')) return false
    const gives = (right: GrantRight) =>
      this.#grants.some(
        (grant) =>
          implies(grant, right) && coversNames(grant, wanted) && isAtOrBelow(wanted.key, grant.key),
      )
    return gives('admin') && [...wanted.rights].every(gives)
  }

  #refusal(what: string): TailraceError {
    const granted = this.texts.join(' ')
    return new TailraceError('EPERM', `the token "${this.#name}" ${what}. It has ${granted}`)
  }
}

const verbs: Readonly<Record<KeyRight, string>> = {
  read: 'read',
  append: 'append to',
  write: 'write',
  watch: 'watch',
  lease: 'lease',
}

function parseGrant(text: string): Grant {
  const at = text.indexOf('@')
  const names = (at < 0 ? text : text.slice(0, at)).split(',')
  const strange = names.find((name) => !(all as readonly string[]).includes(name))
  if (strange !== undefined) {
    throw wrong(text, `"${strange}" is no right: the rights are ${all.join(', ')}`)
  }
  const rights = new Set(names as GrantRight[])
  if (rights.has('metrics')) return metricsGrant(text, rights)
  const onlyJobs = rights.size === 1 && rights.has('jobs')
  const place = at < 0 ? (onlyJobs ? jobsNamespace : primary) : text.slice(at + 1)
  const slash = place.indexOf('/')
  const named = slash < 0 ? place : place.slice(0, slash)
  const isPattern = named.endsWith('*')
  const namespace = isPattern ? named.slice(0, -1) : named
  if (!(isPattern ? isBeginning(namespace) : isNamespaceName(namespace))) {
    throw wrong(text, `"${named}" is no namespace, nor the first letters of one and a *`)
  }
  const grant = {
    rights,
    namespace,
    isPattern,
    key: keyOf(text, slash < 0 ? '' : place.slice(slash)),
  }
  checkPlace(text, grant)
  return grant
}

/** Returns the grant of the right `metrics`. Throws EINVAL if it has a place, or other rights. */
function metricsGrant(text: string, rights: Grant['rights']): Grant {
  if (text === 'metrics') return { rights, namespace: '', isPattern: false, key: '' }
  throw wrong(text, 'the right metrics is of the whole server, and stands alone: write metrics')
}

function keyOf(text: string, key: string): string {
  try {
    return parseKey(key)
  } catch (error) {
    throw wrong(text, error instanceof Error ? error.message : 'its key cannot be read')
  }
}

/** Throws EINVAL for a right that means nothing at the place of the grant, and for a reserved
 *  namespace. */
function checkPlace(text: string, { rights, namespace, isPattern, key }: Grant): void {
  const isJobs = namespace === jobsNamespace && !isPattern
  if (!isPattern && reservedNamespaces.has(namespace) && !isJobs) {
    throw wrong(text, `the namespace "${namespace}" is the store's own`)
  }
  const ofJobs: ReadonlySet<GrantRight> = new Set(['read', 'watch', 'jobs'])
  const stray = isJobs ? [...rights].find((right) => !ofJobs.has(right)) : undefined
  if (stray !== undefined) {
    throw wrong(
      text,
      `${stray} means nothing in "${jobsNamespace}": there are read, watch and jobs`,
    )
  }
  if (rights.has('jobs') && !(isJobs && key === '')) {
    throw wrong(text, 'the right jobs is of the whole namespace "jobs": write jobs')
  }
  if (rights.has('results') && !(namespace.startsWith(layerPrefix) && key === '')) {
    throw wrong(
      text,
      `the right results is of whole cache layers: write results@${layerPrefix}NAME`,
    )
  }
  if (rights.has('admin') && key !== '') {
    throw wrong(text, 'the right admin is of whole namespaces: write admin@NAMESPACE')
  }
}

function wrong(text: string, why: string): TailraceError {
  return invalid(`the grant "${text}" cannot be read: ${why}`)
}

/** True if a text is the beginning of a name of a namespace; the empty text is that of all. */
function isBeginning(text: string): boolean {
  return text === '' || isNamespaceName(text)
}

/** True if the grant's rights have the right in them, wherever that is. */
function implies({ rights }: Grant, right: GrantRight): boolean {
  if (rights.has(right)) return true
  switch (right) {
    case 'append':
      return rights.has('write') || rights.has('results')
    case 'read':
    case 'watch':
      return rights.has('results') || rights.has('jobs')
    case 'write':
    case 'lease':
      return rights.has('results')
    case 'jobs':
    case 'results':
    case 'admin':
    case 'metrics':
      return false
    default:
      return right satisfies never
  }
}

function isNamed({ namespace: granted, isPattern }: Grant, namespace: string): boolean {
  if (!isPattern) return namespace === granted
  return namespace.startsWith(granted) && !reservedNamespaces.has(namespace)
}

/** True if all namespaces that `wanted` names are named by `grant`. */
function coversNames(grant: Grant, wanted: Grant): boolean {
  if (!wanted.isPattern) return isNamed(grant, wanted.namespace)
  return grant.isPattern && wanted.namespace.startsWith(grant.namespace)
}

function isAtOrBelow(key: string, above: string): boolean {
  return above === '' || key === above || key.startsWith(`${above}/`)
}
