/** The calls that read the history: lists of retained roots, differences of two roots, the past of
 *  one key. See rfc/10, rules 12 to 15.
 *  Invariant: the cost of a page is bounded by its limits, however long the history and however
 *  large the trees. */

import { setImmediate } from 'node:timers/promises'
import {
  type DiffEntry,
  type DiffOptions,
  type DiffPage,
  type History,
  type LogEntry,
  type LogOptions,
  type LogPage,
  logRootsMax,
  type RootEntry,
  type RootPage,
  type RootsOptions,
  type Side,
} from '../api/history.js'
import { pageSizeMax } from '../api/kvs.js'
import { lifeOf, type Root } from '../engine/engine.js'
import { canceled, TailraceError } from '../error.js'
import { diffTreeobj } from '../tree/diff.js'
import { getEntry } from '../tree/dir.js'
import type { Nodes } from '../tree/nodes.js'
import { concerns, withoutLeases } from '../tree/root.js'
import { sameTreeobj, statOf } from '../treeobj/codec.js'
import { compareNames, componentsOf, type Key, parseEntryKey, parseKey } from '../treeobj/key.js'
import type { Dir, Treeobj } from '../treeobj/treeobj.js'
import type { LiveNamespace } from './namespace.js'
import { Page, pageLimit } from './page.js'
import type { Past } from './past.js'
import { sizeOf } from './root-log.js'

/** The number of roots that `log` looks at between two turns of the event loop. */
const logStep = 256

/** Returns the last retained root that was made no later than `time`, ms since 1970. Throws ECOMPACTED,
 *  ECANCELED. */
export async function rootAtTime(
  live: LiveNamespace,
  time: number,
  signal: AbortSignal | undefined,
): Promise<Root> {
  const floor = await live.retention.floor()
  let oldest = live.root
  for (let before = live.root.seq + 1; ; before = oldest.seq) {
    const roots = await live.roots.pageBefore(floor, before, logStep, { signal })
    for (const root of roots) {
      if (root.time <= time) return root
      oldest = root
    }
    if (roots.length < logStep) break
    await setImmediate()
  }
  const state = { seq: oldest.seq, time: oldest.time }
  const message = `no root of ${new Date(time).toISOString()} is retained in ${live.name}: the oldest is of ${new Date(oldest.time).toISOString()}`
  throw new TailraceError('ECOMPACTED', message, { failed: { state } })
}

/** The history of all namespaces of a store. */
export class Timeline implements Pick<History, 'roots' | 'diff' | 'log'> {
  readonly #past: Past
  readonly #find: (namespace: string | undefined) => LiveNamespace
  readonly #nodes: Nodes

  /** `find` returns a namespace; it throws ENONS, EINVAL, ECLOSED. */
  constructor(past: Past, find: (namespace: string | undefined) => LiveNamespace, nodes: Nodes) {
    this.#past = past
    this.#find = find
    this.#nodes = nodes
  }

  async roots(options: RootsOptions = {}): Promise<RootPage> {
    const live = this.#find(options.namespace)
    const limit = pageLimit(options.limit)
    const floor = await live.retention.floor()
    const after = Math.max(seqOf('after', options.after) ?? -1, floor - 1)
    const before = seqOf('before', options.before) ?? live.root.seq + 1
    const read = async (limit: number, last?: number) => {
      const bounds = { sizeMax: pageSizeMax, signal: options.signal }
      if (options.newest) return live.roots.pageBefore(after + 1, last ?? before, limit, bounds)
      const page = await live.roots.page(last ?? after, limit, bounds)
      return page.filter(({ seq }) => seq < before)
    }
    const found = await read(limit + 1)
    const page = found.slice(0, limit)
    // A page that ended by its size does not tell if there is more: asks for one root after it.
    const last = page.at(-1)
    const isCut = found.length <= limit && sizeOf(found) > pageSizeMax
    const next = last && isCut ? await read(1, last.seq) : found.slice(limit)
    const pins = await this.#pinsOf(live)
    const roots = page.map((root) => entryOf(root, pins.get(root.seq)))
    return { roots, more: next.length > 0 }
  }

  async diff(options: DiffOptions): Promise<DiffPage> {
    const live = this.#find(options.namespace)
    const page = new Page(options.limit)
    const prefix = parseKey(options.prefix ?? '')
    using from = await this.#past.hold(live, options.from)
    using to = await this.#past.hold(live, options.to)
    const passed = passedOf(prefix, options.after)
    const entries: DiffEntry[] = []
    const answer = { entries, from: from.root.seq, to: to.root.seq }
    if (passed === 'all') return { ...answer, more: false }
    const before = await this.#at(live, from.root, prefix)
    const after = await this.#at(live, to.root, prefix)
    const differences = diffTreeobj(this.#nodes, prefix, before, after, passed)
    for await (const difference of differences) {
      if (options.signal?.aborted) throw canceled(options.signal)
      if (page.full) {
        for (const { root } of [from, to]) this.#past.kept.keep(live, root)
        return { ...answer, more: true }
      }
      entries.push(differenceOf(difference))
      page.add(difference.key.length)
    }
    return { ...answer, more: false }
  }

  async log(key: string, options: LogOptions = {}): Promise<LogPage> {
    const live = this.#find(options.namespace)
    const limit = pageLimit(options.limit)
    const past = new KeyPast(this.#past, live, (root) => this.#at(live, root, parseKey(key)))
    const before = seqOf('before', options.before) ?? live.root.seq + 1
    return past.page(parseKey(key), { before, limit, signal: options.signal })
  }

  /** Returns the treeobj of a key at a root; links are not followed. Throws
   *  EDANGLING, ECORRUPT, EIO. */
  async #at(live: LiveNamespace, root: Root, key: Key): Promise<Treeobj | undefined> {
    return treeobjAt(this.#nodes, await live.data(root), key)
  }

  /** Returns the names of the pins of each root of a namespace, by its seq. */
  async #pinsOf(live: LiveNamespace): Promise<Map<number, string[]>> {
    const names = new Map<number, string[]>()
    for (const { incarnation, seq, name } of await this.#past.pins.list()) {
      if (lifeOf(incarnation) !== lifeOf(live.record.incarnation)) continue
      names.set(seq, [...(names.get(seq) ?? []), name])
    }
    return names
  }
}

/** The value of a key at a root. */
type Seen = { readonly root: Root; readonly value: Treeobj | undefined }

/** Reads the past of one key at the roots of a namespace, newest first. */
class KeyPast {
  readonly #past: Past
  readonly #live: LiveNamespace
  readonly #at: (root: Root) => Promise<Treeobj | undefined>

  constructor(past: Past, live: LiveNamespace, at: (root: Root) => Promise<Treeobj | undefined>) {
    this.#past = past
    this.#live = live
    this.#at = at
  }

  /** Returns a page of the roots below `before` at which the key changed. Throws ECANCELED. */
  async page(
    key: Key,
    options: {
      readonly before: number
      readonly limit: number
      readonly signal: AbortSignal | undefined
    },
  ): Promise<LogPage> {
    const { before, limit, signal } = options
    const { roots: log, retention } = this.#live
    const entries: LogEntry[] = []
    const oldest = await retention.floor()
    let seen: Seen | undefined
    let last: Root | undefined
    const add = (value: Treeobj | undefined) => {
      if (seen && !isSame(seen.value, value)) entries.push(logEntryOf(seen))
    }
    for (let looked = 0; looked < logRootsMax; ) {
      const step = Math.min(logStep, logRootsMax - looked)
      const roots = await log.pageBefore(oldest, last?.seq ?? before, step, { signal })
      for (const root of roots) {
        if (concerns(root, key)) {
          const found = await this.#look(root)
          if (!found) return this.#overtaken(entries)
          const { value } = found
          add(value)
          // The next older value tells if the key changed at this root; until then it
          // waits in `seen`.
          if (entries.length === limit) return { entries, next: root.seq + 1, oldest }
          seen = { root, value }
        }
        last = root
      }
      looked += roots.length
      if (roots.length < step) break
      await setImmediate()
    }
    const [older] = last ? await log.pageBefore(oldest, last.seq, 1) : []
    // Roots between `seen` and `last` did not concern the key, so that `last` has the
    // value before `seen`.
    const earlier = last === seen?.root ? older : last
    if (seen && earlier) {
      const found = await this.#look(earlier)
      if (!found) return this.#overtaken(entries)
      add(found.value)
    }
    // Before the first root of all there was nothing. What was before an older root that is
    // gone is not known.
    if (!earlier && seen?.root.seq === 0) add(undefined)
    return { entries, ...(older && last && { next: last.seq }), oldest }
  }

  /** Ends the page here, since the older roots were dropped meanwhile. */
  async #overtaken(entries: readonly LogEntry[]): Promise<LogPage> {
    return { entries, oldest: await this.#live.retention.floor() }
  }

  /** Reads the value of the key at a root. Undefined where the root was dropped meanwhile. */
  async #look(root: Root): Promise<{ readonly value: Treeobj | undefined } | undefined> {
    using _held = this.#past.holds.hold(root.ref)
    if (root.seq < (this.#live.retention.known ?? 0)) return undefined
    return { value: await this.#at(root) }
  }
}

/** Returns the treeobj of a key below a directory; links are not followed. Throws EDANGLING, ECORRUPT,
 *  EIO. */
export async function treeobjAt(nodes: Nodes, dir: Dir, key: Key): Promise<Treeobj | undefined> {
  let treeobj: Treeobj | undefined = dir
  for (const component of componentsOf(key)) {
    if (treeobj?.type !== 'dir') return undefined
    treeobj = await getEntry(nodes, treeobj, component)
  }
  return treeobj
}

function isSame(a: Treeobj | undefined, b: Treeobj | undefined): boolean {
  return a && b ? sameTreeobj(a, b) : a === b
}

function logEntryOf({ root, value }: Seen): LogEntry {
  const { seq, time } = root
  return { seq, time, ...(value && { value: sideOf(value) }) }
}

function entryOf({ seq, ref, time, keys }: Root, pins: readonly string[] | undefined): RootEntry {
  const named = keys && { keys: withoutLeases(keys) }
  return { seq, ref, time, ...(pins && { pins }), ...named }
}

/** Returns a difference as callers see it. */
export function differenceOf({
  key,
  before,
  after,
}: {
  readonly key: Key
  readonly before?: Treeobj
  readonly after?: Treeobj
}): DiffEntry {
  const sides = {
    ...(before && { before: sideOf(before) }),
    ...(after && { after: sideOf(after) }),
  }
  if (!before) return { key, change: 'added', ...sides }
  return { key, change: after ? 'changed' : 'removed', ...sides }
}

function sideOf(treeobj: Treeobj): Side {
  const { type, ref, count, size, base } = statOf(treeobj, 0)
  return { type, ref, count, size, ...(base && { base }) }
}

/** Returns the place below `prefix` after which a difference goes on, if it goes on after the key
 *  `after`; 'all' if everything below `prefix` comes before that key. Throws EINVAL. */
export function passedOf(
  prefix: Key,
  after: string | undefined,
): { readonly after?: readonly string[] } | 'all' {
  if (after === undefined) return {}
  const below = componentsOf(prefix)
  const passed = componentsOf(parseEntryKey(after))
  const fork = below.findIndex((component, at) => component !== passed[at])
  if (fork < 0) return { after: passed.slice(below.length) }
  const other = passed[fork]
  // Names are in UTF-8 byte order; a directory comes before what is below it.
  if (other === undefined || compareNames(other, below[fork] ?? '') < 0) return {}
  return 'all'
}

function seqOf(name: string, seq: number | undefined): number | undefined {
  if (seq === undefined || (Number.isSafeInteger(seq) && seq >= 0)) return seq
  throw new TailraceError('EINVAL', `${name} is a seq: a whole number, 0 or more`)
}
