/** A draft of the next tree: directories with the changes of a commit group over them, every step
 *  undoable, until `flush` turns it into nodes. See rfc/17.
 *  Invariant: what `rollback` leaves is exactly what was there at `begin`. Nothing of a draft is
 *  visible outside its group. */

import assert from 'node:assert/strict'
import { LoopSlice } from '../base/loop-slice.js'
import { TailraceError } from '../error.js'
import { type AppendArray, closeArray } from '../tree/array.js'
import { getEntry, listDir, notInMemory, peekEntry } from '../tree/dir.js'
import { editDir } from '../tree/dir-edit.js'
import { componentsOf, type Key, parseKey, rootKey } from '../tree/key.js'
import type { Nodes, NodeWriter } from '../tree/nodes.js'
import {
  type Attrs,
  type Base,
  type Dir,
  emptyDir,
  linksMax,
  type Symlink,
  sizeOf,
  type Treeobj,
  type Val,
  type Valref,
} from '../tree/treeobj.js'

/** A log that the group appended to: its array is open, its nodes are made at the flush. */
export type OpenLog = {
  readonly type: 'log'
  readonly array: AppendArray
  readonly attrs: Attrs | undefined
  /** What trims dropped of it, this group's too. */
  readonly base: Base | undefined
}

export type DraftEntry = Val | Valref | Symlink | OpenLog | DraftDir

export class DraftDir {
  readonly type = 'draft'
  readonly base: Dir
  /** What the group changed; undefined: removed. */
  readonly edits = new Map<string, DraftEntry | undefined>()
  /** Directories of the base that were stepped into. */
  readonly children = new Map<string, DraftDir>()
  /** Of the other names of the base that were looked at, there or not. */
  readonly looked = new Map<string, Totals>()
  /** All names of the base before this one have edits. Only the draft writes it. */
  standing: string | undefined
  /** Keys and bytes of the values below as the group has left them. Only the draft writes them. */
  keys: number
  size: number
  /** The directory that holds it, once it is in a tree. Only the draft writes it. */
  above: DraftDir | undefined

  constructor(base: Dir) {
    this.base = base
    this.keys = base.keys
    this.size = base.size
  }
}

/** Where a key leads: `key` is resolved (links followed), `parent` undefined for the root directory,
 *  `entry` undefined where nothing is there. */
export type DraftPlace = {
  readonly parent: DraftDir | undefined
  readonly name: string
  readonly key: Key
  readonly entry: DraftEntry | undefined
  /** The walk met a link to another namespace; `entry` is that link, `rest` what is left below it. */
  readonly foreign?: { readonly link: Symlink; readonly rest: readonly string[] }
}

type Step = {
  readonly dir: DraftDir
  readonly name: string
  readonly had: boolean
  readonly before: DraftEntry | undefined
  /** What the step added to the directory and to those above it. */
  readonly growth: Totals
}

/** Keys and bytes of the values below. */
type Totals = { readonly keys: number; readonly size: number }

const nothing: Totals = { keys: 0, size: 0 }

export class Draft {
  /** Holds the root directory under a name that no key has, so that it is replaced as any other. */
  readonly #top = new DraftDir(emptyDir)
  readonly #nodes: Nodes
  readonly #writer: NodeWriter
  readonly #journal: Step[] = []

  constructor(nodes: Nodes, writer: NodeWriter, data: Dir) {
    this.#nodes = nodes
    this.#writer = writer
    this.setRoot(data)
    this.begin()
  }

  get root(): DraftDir {
    const root = this.#top.edits.get('')
    assert(root?.type === 'draft', 'the root is a directory')
    return root
  }

  /** Bytes of all values, as the group has left them. */
  get size(): number {
    return this.#top.size
  }

  /** Starts a transaction: what came before stays. */
  begin(): void {
    this.#journal.length = 0
  }

  /** Undoes all since `begin`. */
  rollback(): void {
    for (let step = this.#journal.pop(); step; step = this.#journal.pop()) {
      if (step.had) step.dir.edits.set(step.name, step.before)
      else step.dir.edits.delete(step.name)
      step.dir.standing = undefined
      grow(step.dir, { keys: -step.growth.keys, size: -step.growth.size })
    }
  }

  /** The whole tree becomes another one. REQUIRES: its nodes and blobs are stored, or this writer's. */
  setRoot(data: Dir): void {
    this.set(this.#top, '', new DraftDir(data))
  }

  /** Throws E2BIG: more keys or bytes than an integer can count, which copies of copies soon have. REQUIRES:
   *  the name was located before, or `dir` was made by the group; `dir` is still in the tree. A directory is
   *  set once. */
  set(dir: DraftDir, name: string, entry: DraftEntry | undefined): void {
    const growth = this.#growth(totalsAt(dir, name), entry ? totalsOf(entry) : nothing)
    const [had, before] = [dir.edits.has(name), dir.edits.get(name)]
    this.#journal.push({ dir, name, had, before, growth })
    dir.edits.set(name, entry)
    if (entry?.type === 'draft') entry.above = dir
    grow(dir, growth)
  }

  /** Walks to a key. Links in the middle are followed, the last component's if `follow`. With
   *  `created`, missing directories are made on the way (their keys are added to it) and a value
   *  in the way throws ENOTDIR; otherwise such a key is just missing. Throws ELOOP, EINVAL. */
  async locate(
    key: Key,
    options: { readonly follow: boolean; readonly created?: Key[] },
  ): Promise<DraftPlace> {
    let components = componentsOf(key)
    let dir = this.root
    let links = 0
    let depth = 0
    while (depth < components.length) {
      const name = components[depth] ?? ''
      const last = depth === components.length - 1
      const peeked = this.#peek(dir, name)
      const entry = peeked === notInMemory ? await this.#load(dir, name) : peeked
      if (entry?.type === 'symlink' && (!last || options.follow)) {
        if (++links > linksMax)
          throw new TailraceError('ELOOP', `more than ${linksMax} links on the way to ${key}`)
        const rest = components.slice(depth + 1)
        if (entry.namespace !== undefined) {
          const at = keyOf(components.slice(0, depth + 1), links)
          return { parent: dir, name, key: at, entry, foreign: { link: entry, rest } }
        }
        components = [...componentsOf(entry.target as Key), ...rest]
        dir = this.root
        depth = 0
        continue
      }
      if (last) return { parent: dir, name, key: links > 0 ? keyOf(components, links) : key, entry }
      if (entry === undefined && options.created) {
        const made = new DraftDir(emptyDir)
        this.set(dir, name, made)
        options.created.push(keyOf(components.slice(0, depth + 1), links))
        dir = made
      } else if (entry?.type === 'draft') {
        dir = entry
      } else {
        if (entry && options.created) {
          const at = components.slice(0, depth + 1).join('/')
          throw new TailraceError('ENOTDIR', `${at} is a value: nothing can be below it`)
        }
        return { parent: undefined, name, key: keyOf(components, links), entry: undefined }
      }
      depth++
    }
    return { parent: undefined, name: '', key: rootKey, entry: this.root }
  }

  /** However many are removed one after the other, each name is passed once. */
  async isEmpty(dir: DraftDir): Promise<boolean> {
    const { standing } = dir
    if (standing !== undefined && !dir.edits.has(standing)) return false
    const from = standing === undefined ? {} : { after: standing }
    for await (const [name] of listDir(this.#nodes, dir.base, from)) {
      if (dir.edits.has(name)) continue
      dir.standing = name
      return false
    }
    for (const entry of dir.edits.values()) if (entry) return false
    return true
  }

  /** Names of the directory that the draft stands on, in order, whatever the group did to them. */
  async *baseNames(dir: DraftDir): AsyncGenerator<string> {
    for await (const [name] of listDir(this.#nodes, dir.base)) yield name
  }

  /** The same with what they named there. */
  baseEntries(dir: DraftDir): AsyncIterable<readonly [name: string, treeobj: Treeobj]> {
    return listDir(this.#nodes, dir.base)
  }

  /** The nodes of the changed directories, children first; gives the new root directory. */
  flush(): Promise<Dir> {
    return this.#flush(this.root, new LoopSlice({ urgent: true }))
  }

  /** What an entry is as a treeobj; writes the nodes that this takes. */
  async seal(entry: DraftEntry, slice = new LoopSlice({ urgent: true })): Promise<Treeobj> {
    if (entry.type === 'draft') return this.#flush(entry, slice)
    if (entry.type === 'log') {
      return closeArray(this.#writer, entry.array, entry.attrs, entry.base)
    }
    return entry
  }

  async #flush(dir: DraftDir, slice: LoopSlice): Promise<Dir> {
    const edits = new Map<string, Treeobj | undefined>()
    for (const [name, child] of dir.children) {
      if (dir.edits.has(name)) continue
      const flushed = await this.#flush(child, slice)
      if (flushed !== child.base) edits.set(name, flushed)
    }
    for (const [name, entry] of dir.edits) {
      edits.set(name, entry && (await this.seal(entry, slice)))
      if (slice.over) await slice.turn()
    }
    if (edits.size === 0) return dir.base
    return editDir(this.#nodes, this.#writer, dir.base, edits)
  }

  #growth(before: Totals, after: Totals): Totals {
    const growth = { keys: after.keys - before.keys, size: after.size - before.size }
    const keys = this.#top.keys + growth.keys
    const size = this.#top.size + growth.size
    if (Number.isSafeInteger(keys) && Number.isSafeInteger(size)) return growth
    const max = Number.MAX_SAFE_INTEGER
    throw new TailraceError('E2BIG', `a namespace has at most ${max} keys, and as many bytes`)
  }

  #peek(dir: DraftDir, name: string): DraftEntry | undefined | typeof notInMemory {
    if (dir.edits.has(name)) return dir.edits.get(name)
    const child = dir.children.get(name)
    if (child) return child
    const peeked = peekEntry(this.#nodes, dir.base, name)
    return peeked === notInMemory ? peeked : this.#adopt(dir, name, peeked)
  }

  async #load(dir: DraftDir, name: string): Promise<DraftEntry | undefined> {
    return this.#adopt(dir, name, await getEntry(this.#nodes, dir.base, name))
  }

  #adopt(dir: DraftDir, name: string, treeobj: Treeobj | undefined): DraftEntry | undefined {
    if (treeobj?.type !== 'dir') {
      dir.looked.set(name, treeobj ? { keys: 1, size: sizeOf(treeobj) } : nothing)
      return treeobj
    }
    const child = new DraftDir(treeobj)
    child.above = dir
    dir.children.set(name, child)
    return child
  }
}

/** What an entry adds to its directory. */
function totalsOf(entry: DraftEntry): Totals {
  if (entry.type === 'draft') return entry
  const size = entry.type === 'log' ? entry.array.size - (entry.base?.size ?? 0) : sizeOf(entry)
  return { keys: 1, size }
}

function totalsAt(dir: DraftDir, name: string): Totals {
  const edited = dir.edits.get(name)
  if (dir.edits.has(name)) return edited ? totalsOf(edited) : nothing
  const totals = dir.children.get(name) ?? dir.looked.get(name)
  assert(totals || dir.base.ref === undefined, 'a name is located before it is set')
  return totals ?? nothing
}

function grow(dir: DraftDir, { keys, size }: Totals): void {
  for (let each: DraftDir | undefined = dir; each; each = each.above) {
    each.keys += keys
    each.size += size
  }
}

function keyOf(components: readonly string[], links: number): Key {
  const joined = components.join('/')
  // A key that went over links may be too long; one that did not was checked when it was parsed.
  return links > 0 ? parseKey(joined) : (joined as Key)
}
