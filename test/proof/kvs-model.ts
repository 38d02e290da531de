/** The store as plain values: two namespaces of nested maps, and what each op does to them. See rfc/6.
 *  Invariant: nothing here is changed once it is made; a transaction gives another world, or a code. */

import type { Code } from '../../src/error.js'
import { clockAllowanceMs } from '../../src/present/lease-table.js'

export type Dir = { readonly type: 'dir'; readonly entries: ReadonlyMap<string, Node> }
export type Log = {
  readonly type: 'log'
  readonly blobs: readonly string[]
  readonly base: number
  readonly sealed: boolean
}
export type Leaf =
  | { readonly type: 'val'; readonly text: string }
  | Log
  | { readonly type: 'link'; readonly target: string }
export type Node = Dir | Leaf

export type Space = {
  readonly tree: Dir
  readonly seq: number
  /** KEY NUL ID: what is known of a producer. */
  readonly producers: ReadonlyMap<string, { readonly epoch: number; readonly last: number }>
  /** Key: the lease that is held. */
  readonly leases: ReadonlyMap<string, Held>
  /** Key: when it goes; `sliding` counts anew with each append. */
  readonly expiry: ReadonlyMap<string, Expires>
}
/** `seq`: of the transaction that took it; `since`: when it was taken or renewed last. */
type Held = { readonly seq: number; readonly since: number; readonly until: number }
type Expires = { readonly at: number; readonly sliding: boolean }

/** What every lease and every ttl lasts, ms. */
export const lifeMs = 1_000
export type SpaceName = 'primary' | 'other'
export type World = Readonly<Record<SpaceName, Space>>

/** A ttl of `lifeMs`. */
export type Life = 'fixed' | 'sliding'

/** `at`: a tree of before, which the world does not hold. */
type Copied = { readonly from: string; readonly namespace?: SpaceName; readonly at?: Dir }
export type ModelOp =
  | { readonly op: 'put'; readonly key: string; readonly value: string; readonly life?: Life }
  | {
      readonly op: 'append'
      readonly key: string
      readonly value: string
      readonly seal?: boolean
      readonly life?: Life
      readonly producer?: { readonly id: string; readonly epoch: number; readonly seq: number }
    }
  | { readonly op: 'seal' | 'mkdir'; readonly key: string }
  | { readonly op: 'trim'; readonly key: string; readonly before?: number; readonly keep?: number }
  | { readonly op: 'unlink'; readonly key: string; readonly recursive: boolean }
  | { readonly op: 'symlink'; readonly key: string; readonly target: string }
  | ({ readonly op: 'copy'; readonly key: string; readonly replace: boolean } & Copied)
  | ({ readonly op: 'move'; readonly key: string; readonly replace: boolean } & Omit<Copied, 'at'>)
  | ({ readonly op: 'fork'; readonly key: string; readonly count: number } & Copied)
  | { readonly op: 'restore'; readonly key: string; readonly at: Dir }
  /** What the key `from` was, put as it is shown; the text `nothing` where it was not there. */
  | { readonly op: 'treeobj'; readonly key: string; readonly from: string; readonly at: Dir }
  | { readonly op: 'lease'; readonly key: string; readonly action: 'take' }
  | {
      readonly op: 'lease'
      readonly key: string
      readonly action: 'renew' | 'release'
      readonly token: number
    }

export type ModelGuard =
  | { readonly key: string; readonly absent: true }
  | { readonly key: string; readonly count: number }
  | { readonly seq: number }
  /** The key holds what it held in that tree. */
  | { readonly key: string; readonly same: Dir }
  | { readonly lease: string; readonly token: number }
  | {
      readonly key: string
      readonly producer: string
      readonly epoch: number
      readonly next: number
    }

export class Refused extends Error {
  readonly code: Code
  constructor(code: Code) {
    super(code)
    this.code = code
  }
}

export const emptyDir: Dir = { type: 'dir', entries: new Map() }
export const emptySpace: Space = {
  tree: emptyDir,
  seq: 0,
  producers: new Map(),
  leases: new Map(),
  expiry: new Map(),
}

const linksMax = 10
const inlineMax = 256

/** Where a key leads: names without links, and what is there. `blocked`: below a value. */
type Place = { readonly path: readonly string[]; readonly node?: Node; readonly blocked: boolean }

export function locate(tree: Dir, key: string, follow: boolean): Place {
  let names = partsOf(key)
  let path: string[] = []
  let node: Node | undefined = tree
  for (let links = 0; names.length > 0; ) {
    const [name = '', ...rest]: string[] = names
    if (node?.type !== 'dir') return { path: [...path, ...names], blocked: node !== undefined }
    const child: Node | undefined = node.entries.get(name)
    if (child?.type === 'link' && (follow || rest.length > 0)) {
      links++
      if (links > linksMax) throw new Refused('ELOOP')
      names = [...partsOf(child.target), ...rest]
      path = []
      node = tree
      continue
    }
    path.push(name)
    names = rest
    node = child
  }
  return { path, blocked: false, ...(node ? { node } : {}) }
}

/** Applies a transaction to a namespace of a world. Throws Refused. */
export function applyTransaction(
  world: World,
  name: SpaceName,
  guards: readonly ModelGuard[],
  ops: readonly ModelOp[],
  now: number,
): { readonly world: World; readonly results: readonly Result[] } {
  for (const guard of guards) if (!holds(world[name], guard)) throw new Refused('ECONFLICT')
  const draft = new Draft(world, name, now)
  const results = ops.map((op) => draft.apply(op))
  return { world: draft.world(), results }
}

export type Result = {
  readonly index?: number
  readonly count?: number
  readonly base?: { readonly count: number; readonly size: number }
  readonly repeated?: true
}

function holds(space: Space, guard: ModelGuard): boolean {
  if ('seq' in guard) return guard.seq === space.seq
  if ('lease' in guard) {
    const key = locate(space.tree, guard.lease, true).path.join('/')
    return space.leases.get(key)?.seq === guard.token
  }
  const { node, path } = locate(space.tree, guard.key, true)
  if ('absent' in guard) return !node
  if ('producer' in guard) {
    const known = space.producers.get(`${path.join('/')}\0${guard.producer}`)
    return isNext(known, guard.epoch, guard.next)
  }
  if ('same' in guard) {
    const before = locate(guard.same, guard.key, true).node
    return node !== undefined && before !== undefined && nameOf(node) === nameOf(before)
  }
  return node?.type !== 'dir' && countOf(node) === guard.count
}

type Known = { readonly epoch: number; readonly last: number } | undefined

function isNext(known: Known, epoch: number, seq: number): boolean {
  if (!known || epoch > known.epoch) return seq === 0
  return epoch === known.epoch && seq === known.last + 1
}

export function countOf(node: Node | undefined): number {
  if (node?.type === 'log') return node.blobs.length
  return node?.type === 'val' ? 1 : 0
}

/** Equal for equal nodes. */
export function nameOf(node: Node | undefined): string {
  if (node?.type !== 'dir') return JSON.stringify(node ?? null)
  const entries = [...node.entries].sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${entries.map(([name, child]) => `${name}:${nameOf(child)}`).join()}}`
}

/** What time has ended goes. The seqs of that are the caller's to learn. */
export function passTime(world: World, now: number): World {
  const passed = (space: Space): Space => {
    const due = [...space.expiry].filter(([, { at }]) => at <= now).map(([key]) => key)
    const tree = due.reduce((left, key) => set(left, partsOf(key), undefined), space.tree)
    const kept = ([id]: readonly [string, unknown]) => !due.includes(id.split('\0')[0] ?? '')
    return {
      ...space,
      tree,
      producers: new Map([...space.producers].filter(kept)),
      expiry: new Map([...space.expiry].filter(kept)),
      leases: new Map([...space.leases].filter(([, { until }]) => until > now)),
    }
  }
  return { primary: passed(world.primary), other: passed(world.other) }
}

/** What an open leaves of leases: their time by the wall clock and the allowance, at most all of it. */
export function reopenLeases(world: World, now: number): World {
  const reopened = (space: Space): Space => {
    const leases = [...space.leases].map(([key, { seq, since }]) => {
      const until = Math.min(now + lifeMs, since + lifeMs + clockAllowanceMs)
      return [key, { seq, since, until }] as const
    })
    return { ...space, leases: new Map(leases.filter(([, { until }]) => until > now)) }
  }
  return { primary: reopened(world.primary), other: reopened(world.other) }
}

class Draft {
  readonly #world: World
  readonly #name: SpaceName
  readonly #trees = new Map<SpaceName, Dir>()
  readonly #producers: Record<SpaceName, Map<string, NonNullable<Known>>>
  readonly #leases: Map<string, Held>
  readonly #expiry: Record<SpaceName, Map<string, Expires>>
  readonly #now: number

  constructor(world: World, name: SpaceName, now: number) {
    this.#now = now
    this.#expiry = {
      primary: new Map(world.primary.expiry),
      other: new Map(world.other.expiry),
    }
    this.#world = world
    this.#name = name
    this.#trees.set(name, world[name].tree)
    this.#producers = {
      primary: new Map(world.primary.producers),
      other: new Map(world.other.producers),
    }
    this.#leases = new Map(world[name].leases)
  }

  /** A namespace that something was moved out of takes a seq as well. */
  world(): World {
    const next: Record<SpaceName, Space> = { ...this.#world }
    for (const [name, tree] of this.#trees) {
      const { seq, leases } = this.#world[name]
      const held = name === this.#name ? this.#leases : leases
      const [producers, expiry] = [this.#producers[name], this.#expiry[name]]
      next[name] = { tree, seq: seq + 1, producers, leases: held, expiry }
    }
    return next
  }

  apply(op: ModelOp): Result {
    const own = () => locate(this.#tree(), op.key, false)
    switch (op.op) {
      case 'put': {
        const place = this.#writable(op.key, false)
        if (place.node?.type === 'dir') throw new Refused('EISDIR')
        this.#replace(place.path, leafOf(op.value))
        this.#setLife(place.path, op.life)
        return {}
      }
      case 'append':
        return this.#append(op)
      case 'seal': {
        const { path, node } = locate(this.#tree(), op.key, true)
        if (!node) throw new Refused('ENOENT')
        const log = logOf(node)
        this.#set(path, { ...log, sealed: true })
        return { count: log.blobs.length }
      }
      case 'trim':
        return this.#trim(op)
      case 'mkdir': {
        const { path, node } = this.#writable(op.key, false)
        if (node && node.type !== 'dir') throw new Refused('EEXIST')
        if (!node) this.#set(path, emptyDir)
        return {}
      }
      case 'symlink': {
        const { path, node } = this.#writable(op.key, false)
        if (node?.type === 'dir') throw new Refused('EISDIR')
        this.#replace(path, { type: 'link', target: op.target })
        return {}
      }
      case 'unlink': {
        const { path, node } = own()
        if (node?.type === 'dir' && node.entries.size > 0 && !op.recursive) {
          throw new Refused('ENOTEMPTY')
        }
        if (node) this.#replace(path, undefined)
        return {}
      }
      case 'copy': {
        const source = this.#source(op)
        this.#land(op.key, source, op.replace)
        return {}
      }
      case 'fork': {
        const { blobs, base } = logOf(this.#source(op))
        if (op.count > blobs.length) throw new Refused('EINVAL')
        if (op.count < base) throw new Refused('ECOMPACTED')
        const fork = { type: 'log', blobs: blobs.slice(0, op.count), base, sealed: false } as const
        this.#land(op.key, fork, false)
        return { count: op.count }
      }
      case 'move':
        return this.#move(op)
      case 'restore': {
        const before = locate(op.at, op.key, false).node
        const { path, node } = own()
        if (nameOf(before) === nameOf(node)) return {}
        if (before) this.#writable(op.key, false)
        this.#replace(path, before)
        return {}
      }
      case 'treeobj': {
        this.#land(op.key, nodeAt(op.at, op.from) ?? leafOf('nothing'), false)
        return {}
      }
      case 'lease':
        return this.#lease(op)
      default:
        return op satisfies never
    }
  }

  #tree(name: SpaceName = this.#name): Dir {
    return this.#trees.get(name) ?? this.#world[name].tree
  }

  #append(op: Extract<ModelOp, { readonly op: 'append' }>): Result {
    const { path, node } = this.#writable(op.key, true)
    if (node?.type === 'dir') throw new Refused('EISDIR')
    const { producer } = op
    const id = `${path.join('/')}\0${producer?.id}`
    const known = this.#producers[this.#name].get(id)
    if (producer && known && producer.epoch < known.epoch) throw new Refused('EFENCED')
    if (producer && known?.epoch === producer.epoch && producer.seq <= known.last) {
      return { repeated: true }
    }
    if (producer && !isNext(known, producer.epoch, producer.seq)) throw new Refused('ECONFLICT')
    const log = node ? logOf(node) : { type: 'log' as const, blobs: [], base: 0, sealed: false }
    if (log.sealed) throw new Refused('ESEALED')
    const blobs = [...log.blobs, op.value]
    this.#set(path, { ...log, blobs, sealed: op.seal ?? false })
    const sliding = this.#expiry[this.#name].get(path.join('/'))?.sliding
    this.#setLife(path, op.life ?? (sliding ? 'sliding' : undefined))
    if (producer) this.#producers[this.#name].set(id, { epoch: producer.epoch, last: producer.seq })
    return { index: blobs.length - 1, count: blobs.length }
  }

  #trim(op: Extract<ModelOp, { readonly op: 'trim' }>): Result {
    const { path, node } = locate(this.#tree(), op.key, true)
    if (!node) throw new Refused('ENOENT')
    const log = logOf(node)
    const { length } = log.blobs
    const first = op.before ?? Math.max(0, length - (op.keep ?? 0))
    if (first > length) throw new Refused('EINVAL')
    const base = Math.max(log.base, first)
    if (base > log.base) this.#set(path, { ...log, base })
    return { base: { count: base, size: log.blobs.slice(0, base).join('').length }, count: length }
  }

  #move(op: Extract<ModelOp, { readonly op: 'move' }>): Result {
    const name = op.namespace ?? this.#name
    const source = locate(this.#tree(name), op.from, false)
    if (source.path.length === 0) throw new Refused('EPERM')
    if (!source.node) throw new Refused('ENOENT')
    const target = this.#writable(op.key, false)
    const [from, to] = [source.path.join('/'), target.path.join('/')]
    if (name === this.#name && from === to) return {}
    if (name === this.#name && to.startsWith(`${from}/`)) throw new Refused('EINVAL')
    this.#clear(target, op.replace)
    this.#endLife(source.path, name)
    this.#trees.set(name, set(this.#tree(name), source.path, undefined))
    this.#replace(target.path, source.node)
    return {}
  }

  #lease(op: Extract<ModelOp, { readonly op: 'lease' }>): Result {
    const key = locate(this.#tree(), op.key, true).path.join('/')
    const held = this.#leases.get(key)?.seq
    const since = this.#now
    const until = since + lifeMs
    if (op.action === 'take') {
      if (held !== undefined) throw new Refused('ECONFLICT')
      this.#leases.set(key, { seq: this.#world[this.#name].seq + 1, since, until })
      return {}
    }
    if (held === undefined || held !== op.token) throw new Refused('EFENCED')
    if (op.action === 'release') this.#leases.delete(key)
    else this.#leases.set(key, { seq: held, since, until })
    return {}
  }

  #source({ from, namespace, at }: Copied): Node {
    const { node } = locate(at ?? this.#tree(namespace), from, true)
    if (!node) throw new Refused('ENOENT')
    return node
  }

  #land(key: string, node: Node, replace: boolean): void {
    const place = this.#writable(key, false)
    this.#clear(place, replace)
    this.#replace(place.path, node)
  }

  #clear({ node }: Place, replace: boolean): void {
    if (node?.type === 'dir' && node.entries.size > 0 && !replace) throw new Refused('EISDIR')
  }

  #writable(key: string, follow: boolean): Place {
    const place = locate(this.#tree(), key, follow)
    if (place.blocked) throw new Refused('ENOTDIR')
    return place
  }

  #replace(path: readonly string[], node: Node | undefined): void {
    this.#endLife(path, this.#name)
    this.#set(path, node)
  }

  #set(path: readonly string[], node: Node | undefined): void {
    this.#trees.set(this.#name, set(this.#tree(), path, node))
  }

  #setLife(path: readonly string[], life: Life | undefined): void {
    if (!life) return
    const expires = { at: this.#now + lifeMs, sliding: life === 'sliding' }
    this.#expiry[this.#name].set(path.join('/'), expires)
  }

  /** What belongs to a key ends with its value. */
  #endLife(path: readonly string[], name: SpaceName): void {
    const key = path.join('/')
    for (const of of [...this.#expiry[name].keys()]) {
      if (key === '' || of === key || of.startsWith(`${key}/`)) this.#expiry[name].delete(of)
    }
    for (const id of [...this.#producers[name].keys()]) {
      const [of = ''] = id.split('\0')
      if (key === '' || of === key || of.startsWith(`${key}/`)) this.#producers[name].delete(id)
    }
  }
}

/** What a key names, as it is; undefined if it is not there, or leads through a circle of links. */
function nodeAt(tree: Dir, key: string): Node | undefined {
  try {
    return locate(tree, key, false).node
  } catch (error) {
    if (error instanceof Refused) return undefined
    throw error
  }
}

function leafOf(text: string): Leaf {
  if (text.length <= inlineMax) return { type: 'val', text }
  return { type: 'log', blobs: [text], base: 0, sealed: false }
}

/** A value as a log of one blob. */
function logOf(node: Node): Log {
  if (node.type === 'log') return node
  if (node.type !== 'val') throw new Refused('EISDIR')
  return { type: 'log', blobs: [node.text], base: 0, sealed: false }
}

function set(tree: Dir, path: readonly string[], node: Node | undefined): Dir {
  const [name, ...rest] = path
  if (name === undefined) {
    if (node?.type !== 'dir') throw new Refused('EISDIR')
    return node
  }
  const entries = new Map(tree.entries)
  const child = entries.get(name)
  const below = child?.type === 'dir' ? child : emptyDir
  if (rest.length > 0) {
    if (node || child) entries.set(name, set(below, rest, node))
  } else if (node) entries.set(name, node)
  else entries.delete(name)
  return { type: 'dir', entries }
}

export function partsOf(key: string): string[] {
  return key.split('/').filter((part) => part !== '')
}
