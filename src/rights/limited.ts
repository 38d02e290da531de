/** A store as one access token sees it: each call checks the rights before it does anything. See
 *  rfc/28, rules 8 to 12.
 *  Invariant: what this file does not let through is refused. Keys that a call names are checked
 *  here, and keys that links lead to by the calls below, which get the rights. */

import { createHash } from 'node:crypto'
import type { History, Pin } from '../api/history.js'
import type { Jobs } from '../api/job.js'
import type { CommitOptions, Kvs, ReadScope } from '../api/kvs.js'
import { jobsNamespace, layerPrefix, type Namespaces, primary } from '../api/namespace.js'
import type {
  Capping,
  Committed,
  CommittedOp,
  Expiry,
  Guard,
  Op,
  Scope,
  Transaction,
} from '../api/transaction.js'
import type { Upkeep } from '../api/upkeep.js'
import type { Watching, WatchOptions } from '../api/watch.js'
import type { Blobref } from '../blob/blobref.js'
import { isCode, TailraceError } from '../error.js'
import type { KeyStore } from '../kvs/store.js'
import { openProducer } from '../store/producer.js'
import type { KeyRight, Rights } from '../tree/rights.js'
import { parseKey } from '../treeobj/key.js'
import type { Grants } from './grants.js'

/** The ref of a root in answers to those who may not read the whole namespace. */
export const hiddenRef = `blake3-${'0'.repeat(64)}` as Blobref

const refsReason = 'a ref reaches blobs whichever key names them, so refs are for the owner'
const ownersReason = 'it is for the owner'

/** The store below. Its calls on keys take the rights of the caller. */
export type LimitedPorts = {
  readonly keys: Pick<
    KeyStore,
    'commit' | 'put' | 'append' | 'get' | 'read' | 'stat' | 'list' | 'readMany' | 'root'
  >
  readonly watch: (key: string, options: WatchOptions, rights: Rights) => Watching
  readonly whole: Pick<Kvs, 'history' | 'namespaces'>
  readonly newId: () => string
}

/** Makes the keys of a store as these grants show them. */
export function limitedKvs(ports: LimitedPorts, grants: Grants): Kvs {
  const { keys, whole } = ports
  const writes = new LimitedWrites(ports, grants)
  const reading = <T extends ReadScope>(key: string, scope: T | undefined) => {
    checkKey(grants, 'read', key, scope)
    checkAt(grants, scope?.at)
    return { ...(scope as T), rights: grants }
  }
  return {
    commit: (transaction, options) => writes.commit(transaction, options),
    put: (key, value, options) => writes.put(key, value, options),
    append: (key, value, options) => writes.append(key, value, options),
    producer: (key, options = {}) =>
      openProducer(
        (transaction, scope) => writes.commit(transaction, scope),
        key,
        options,
        ports.newId,
      ),
    get: async (key, options) => keys.get(key, reading(key, options)),
    read: async (key, options) => keys.read(key, reading(key, options)),
    stat: async (key, options) => keys.stat(key, reading(key, options)),
    list: async (key, options) => keys.list(key, reading(key, options)),
    readMany: async (names, options) => {
      for (const key of names) checkKey(grants, 'read', key, options)
      checkAt(grants, options?.at)
      return keys.readMany(names, { ...options, rights: grants })
    },
    root: async (options) => {
      const namespace = options?.namespace ?? primary
      grants.checkAny(namespace)
      return hidden(grants, namespace, await keys.root(options))
    },
    treeobj: async () => grants.refuse('read treeobjs', refsReason),
    watch: (key, options) => {
      checkWatch(grants, key, options)
      return ports.watch(key, options, grants)
    },
    history: limitedHistory(whole.history, grants),
    namespaces: limitedNamespaces(whole.namespaces, grants),
    upkeep: refusedUpkeep(grants),
    blobs: {
      load: async () => grants.refuse('load blobs by their refs', refsReason),
      store: async () => grants.refuse('store blobs by themselves', refsReason),
    },
  }
}

/** Throws EPERM unless a key may be watched. */
export function checkWatch(grants: Grants, key: string, options: WatchOptions): void {
  checkKey(grants, 'watch', key, options)
  checkKey(grants, 'read', key, options)
  if (options.lease) checkKey(grants, 'lease', key, options)
}

/** The writes of a caller with an access token. */
class LimitedWrites {
  readonly #keys: LimitedPorts['keys']
  readonly #grants: Grants

  constructor({ keys }: LimitedPorts, grants: Grants) {
    this.#keys = keys
    this.#grants = grants
  }

  async commit(transaction: Transaction, options: CommitOptions = {}): Promise<Committed> {
    const { namespace = primary } = options
    for (const guard of transaction.guards ?? []) this.#checkGuard(guard, namespace)
    for (const op of transaction.ops) this.#checkOp(op, namespace)
    // An empty transaction, too, tells nothing of the namespace, and takes none of its seqs.
    this.#grants.checkAny(namespace)
    return this.#answer(namespace, this.#keys.commit(transaction, this.#scope(options)))
  }

  async put(...[key, value, options = {}]: Parameters<Kvs['put']>): Promise<CommittedOp> {
    const { namespace = primary, guards = [] } = options
    for (const guard of guards) this.#checkGuard(guard, namespace)
    checkKey(this.#grants, 'write', key, options)
    return this.#answer(namespace, this.#keys.put(key, value, this.#scope(options)))
  }

  async append(...[key, value, options = {}]: Parameters<Kvs['append']>): Promise<CommittedOp> {
    const { namespace = primary, guards = [] } = options
    for (const guard of guards) this.#checkGuard(guard, namespace)
    checkKey(this.#grants, appendRight(options), key, options)
    return this.#answer(namespace, this.#keys.append(key, value, this.#scope(options)))
  }

  /** Adds the rights, and makes the idempotency key the token's own. */
  #scope<T extends Pick<CommitOptions, 'idempotencyKey'>>(options: T): T & { rights: Rights } {
    const { idempotencyKey: given } = options
    const own = given === undefined ? {} : { idempotencyKey: ownKey(this.#grants.id, given) }
    return { ...options, ...own, rights: this.#grants }
  }

  async #answer<T extends { readonly ref: Blobref }>(
    namespace: string,
    answered: Promise<T>,
  ): Promise<T> {
    try {
      return hidden(this.#grants, namespace, await answered)
    } catch (error) {
      if (!isCode(error, 'EDQUOT') || this.#grants.has('read', namespace, '')) throw error
      throw new TailraceError('EDQUOT', `the quota of the namespace ${namespace} is used up`)
    }
  }

  #checkGuard(guard: Guard, namespace: string): void {
    if ('seq' in guard) return
    if ('lease' in guard) checkKey(this.#grants, 'lease', guard.lease, { namespace })
    else if ('producer' in guard) checkKey(this.#grants, 'append', guard.key, { namespace })
    else checkKey(this.#grants, 'read', guard.key, { namespace })
  }

  #checkOp(op: Op, namespace: string): void {
    const grants = this.#grants
    const scope = { namespace }
    switch (op.op) {
      case 'append':
        checkKey(grants, appendRight(op), op.key, scope)
        return
      case 'lease':
        checkKey(grants, 'lease', op.key, scope)
        return
      case 'copy':
      case 'fork':
        checkKey(grants, 'read', op.from, { namespace: op.namespace ?? namespace })
        checkAt(grants, op.at)
        checkKey(grants, 'write', op.key, scope)
        return
      case 'move':
        if (op.namespace !== undefined && op.namespace !== namespace) {
          grants.refuse('move keys between namespaces', ownersReason)
        }
        checkKey(grants, 'read', op.from, scope)
        checkKey(grants, 'write', op.from, scope)
        checkKey(grants, 'write', op.key, scope)
        return
      case 'restore':
        checkAt(grants, op.at)
        checkKey(grants, 'write', op.key, scope)
        return
      case 'treeobj':
        grants.refuse('write treeobjs', refsReason)
        return
      case 'put':
      case 'seal':
      case 'trim':
      case 'unlink':
      case 'mkdir':
      case 'symlink':
        checkKey(grants, 'write', op.key, scope)
        return
      default:
        op satisfies never
    }
  }
}

/** Returns the right that an append needs: what ends a log, or takes something from it, is a write. */
function appendRight({ seal, ttl, sliding, cap }: Expiry & Capping & { seal?: boolean }): KeyRight {
  const isPlain = !seal && ttl === undefined && !sliding && cap === undefined
  return isPlain ? 'append' : 'write'
}

/** Throws EPERM unless a right is granted on a key. Throws EINVAL for what is no key. */
export function checkKey(
  grants: Grants,
  right: KeyRight,
  key: string,
  scope: Scope | undefined,
): void {
  grants.check(right, scope?.namespace ?? primary, parseKey(key))
}

/** Throws EPERM for a root that is named by its ref. */
function checkAt(grants: Grants, at: number | string | undefined): void {
  if (typeof at === 'string') grants.refuse('read at a ref', refsReason)
}

function ownKey(id: string, key: string): string {
  return createHash('sha256').update(`${id}\0${key}`).digest('hex')
}

/** Takes the ref of a root from an answer, unless the whole namespace may be read. */
function hidden<T extends { readonly ref: Blobref }>(
  grants: Grants,
  namespace: string,
  answer: T,
): T {
  return grants.has('read', namespace, '') ? answer : { ...answer, ref: hiddenRef }
}

function limitedHistory(history: History, grants: Grants): History {
  const isPinned = ({ namespace }: Pin) => grants.has('admin', namespace, '')
  return {
    roots: async (options) => {
      const namespace = options?.namespace ?? primary
      grants.checkWhole('read', namespace, `list the roots of ${namespace}`)
      return history.roots(options)
    },
    diff: async (options) => {
      checkKey(grants, 'read', options.prefix ?? '', options)
      checkAt(grants, options.from)
      checkAt(grants, options.to)
      return history.diff(options)
    },
    log: async (key, options) => {
      checkKey(grants, 'read', key, options)
      return history.log(key, options)
    },
    pins: async (options) => (await history.pins(options)).filter(isPinned),
    pin: async (name, options) => {
      const namespace = options?.namespace ?? primary
      grants.checkWhole('admin', namespace, `pin roots of ${namespace}`)
      checkAt(grants, options?.at)
      try {
        return await history.pin(name, options)
      } catch (error) {
        if (!isCode(error, 'EEXIST')) throw error
        throw new TailraceError('EEXIST', `the pin ${name} holds another root: take another name`)
      }
    },
    unpin: async (name, options) => {
      const pin = (await history.pins(options)).find((each) => each.name === name)
      if (!pin || !isPinned(pin)) throw new TailraceError('ENOENT', `there is no pin ${name}`)
      return history.unpin(name, options)
    },
  }
}

function limitedNamespaces(namespaces: Namespaces, grants: Grants): Namespaces {
  const isShown = (name: string) => grants.has('read', name, '') || grants.has('admin', name, '')
  const isLayer = (name: string) => name.startsWith(layerPrefix) && grants.has('results', name, '')
  return {
    list: async (options) => (await namespaces.list(options)).filter(({ name }) => isShown(name)),
    create: async (name, options) => {
      const { from } = options ?? {}
      if (from || !isLayer(name)) {
        grants.checkWhole('admin', name, `make the namespace ${name}`)
      }
      const source = from?.namespace ?? primary
      if (from) grants.checkWhole('read', source, `copy the namespace ${source}`)
      checkAt(grants, from?.at)
      return namespaces.create(name, options)
    },
    remove: async (name, options) => {
      grants.checkWhole('admin', name, `remove the namespace ${name}`)
      return namespaces.remove(name, options)
    },
    configure: async (name, change, options) => {
      if (!isLayer(name)) grants.checkWhole('admin', name, `change the settings of ${name}`)
      return namespaces.configure(name, change, options)
    },
  }
}

function refusedUpkeep(grants: Grants): Upkeep {
  const refused = (act: string) => async () => grants.refuse(act, ownersReason)
  return {
    usage: refused('see the usage of the store'),
    collect: refused('collect garbage'),
    forget: refused('forget keys'),
    export: () => grants.refuse('export a namespace', ownersReason),
    import: refused('import into a namespace'),
  }
}

/** Makes the jobs of a store as these grants show them. */
export function limitedJobs(jobs: Jobs, grants: Grants): Jobs {
  const mayRun = (act: string) => grants.checkWhole('jobs', jobsNamespace, act)
  const mayRead = (id: string) => checkKey(grants, 'read', id, { namespace: jobsNamespace })
  const mayFollow = (id: string, follow: boolean | undefined) => {
    mayRead(id)
    if (follow) checkKey(grants, 'watch', id, { namespace: jobsNamespace })
  }
  return {
    submit: async (submission, signal) => {
      mayRun('run commands')
      return jobs.submit(submission, signal)
    },
    list: async (options) => {
      mayRead('')
      return jobs.list(options)
    },
    show: async (id, signal) => {
      mayRead(id)
      return jobs.show(id, signal)
    },
    wait: async (id, signal) => {
      mayFollow(id, true)
      return jobs.wait(id, signal)
    },
    signal: async (id, name) => {
      mayRun('signal jobs')
      return jobs.signal(id, name)
    },
    resize: async (id, size) => {
      mayRun('resize the terminals of jobs')
      return jobs.resize(id, size)
    },
    stdin: async (id, chunks, signal) => {
      mayRun('write to jobs')
      return jobs.stdin(id, chunks, signal)
    },
    remove: async (id, options) => {
      mayRun('remove jobs')
      return jobs.remove(id, options)
    },
    prune: async (options) => {
      mayRun('remove jobs')
      return jobs.prune(options)
    },
    output: (id, options) => {
      mayFollow(id, options?.follow)
      return jobs.output(id, options)
    },
    events: (id, options) => {
      mayFollow(id, options?.follow)
      return jobs.events(id, options)
    },
  }
}
