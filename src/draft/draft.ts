/** A draft of the next tree: the directories of a root with the changes of a commit group on top.
 *  Each change can be undone until `flush` makes nodes of them. See rfc/17, rule 1.
 *  Invariant: `rollback` restores exactly the state at `begin`. Nothing outside
 *  the group sees its draft. */

import assert from 'node:assert/strict'
import { LoopSlice } from '../base/loop-slice.js'
import { TailraceError } from '../error.js'
import { type AppendArray, closeArray } from '../tree/array.js'
import { getEntry, listDir, notInMemory, peekEntry } from '../tree/dir.js'
import { editDir } from '../tree/dir-edit.js'
import type { Nodes, NodeWriter } from '../tree/nodes.js'
import { admitOf, type KeyRight, type Rights } from '../tree/rights.js'
import { componentsOf, type Key, parseKey, rootKey } from '../treeobj/key.js'
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
} from '../treeobj/treeobj.js'

/** A log that the group appended to. Its array is open: the flush writes its nodes. */
export type OpenLog = {
  readonly type: 'log'
  readonly array: AppendArray
  readonly attrs: Attrs | undefined
  /** The blobs and bytes that trims dropped, those of this group included. */
  readonly base: Base | undefined
}

/** An entry of a directory in a draft. */
export type DraftEntry = Val | Valref | Symlink | OpenLog | DraftDir

/** A directory in a draft. */
export class DraftDir {
  readonly type = 'draft'
  /** The directory before the group. */
  readonly base: Dir
  /** The entries that the group changed; undefined for a name that it removed. */
  readonly edits = new Map<string, DraftEntry | undefined>()
  /** The directories of the base that were looked up. */
  readonly children = new Map<string, DraftDir>()
  /** The keys and bytes of the other names that were looked up in the base;
   *  none for a missing name. */
  readonly looked = new Map<string, Totals>()
  /** A name of the base: all names before it have edits. `isEmpty` goes on from it.
   *  Only the draft writes it. */
  standing: string | undefined
  /** The number of keys below, as the group has left it. Only the draft writes it. */
  keys: number
  /** The bytes of the values below, as the group has left them. Only the draft writes it. */
  size: number
  /** The directory that holds it, once it is in a tree. Only the draft writes it. */
  above: DraftDir | undefined

  constructor(base: Dir) {
    this.base = base
    this.keys = base.keys
    this.size = base.size
  }
}

/** The place that a key leads to. `key` is the resolved key (links followed). `parent` is undefined
 *  for the root directory, and for a key below a missing directory or a value. `entry` is undefined
 *  where nothing is there. */
export type DraftPlace = {
  readonly parent: DraftDir | undefined
  readonly name: string
  readonly key: Key
  readonly entry: DraftEntry | undefined
  /** Present if the walk ended at a link to another namespace: `entry` is that link, and `rest` has
   *  the components behind it. */
  readonly foreign?: { readonly link: Symlink; readonly rest: readonly string[] }
}

/** A change in the journal of a draft, with what undoes it. */
type Step = {
  readonly dir: DraftDir
  readonly name: string
  readonly had: boolean
  readonly before: DraftEntry | undefined
  /** The keys and bytes that the step added to the directory and to those above it. */
  readonly growth: Totals
}

/** The number of keys below, and the bytes of their values. */
type Totals = { readonly keys: number; readonly size: number }

const nothing: Totals = { keys: 0, size: 0 }

/** The draft. Mutable; owned by the group that makes it. */
export class Draft {
  /** Holds the root directory under a name that no key has, so that it can be
   *  replaced like any other. */
  readonly #top = new DraftDir(emptyDir)
  readonly #nodes: Nodes
  readonly #writer: NodeWriter
  readonly #journal: Step[] = []
  /** The namespace of the tree. */
  readonly #namespace: string
  /** The rights of the transaction that is being applied; undefined: all. */
  rights: Rights | undefined
  /** The right that its present step needs on each key that a link leads to. */
  right: KeyRight = 'write'

  constructor(nodes: Nodes, writer: NodeWriter, data: Dir, namespace = '') {
    this.#namespace = namespace
    this.#nodes = nodes
    this.#writer = writer
    this.setRoot(data)
    this.begin()
  }

  /** The root directory. */
  get root(): DraftDir {
    const root = this.#top.edits.get('')
    assert(root?.type === 'draft', 'the root is a directory')
    return root
  }

  /** The bytes of all values, as the group has left them. */
  get size(): number {
    return this.#top.size
  }

  /** Starts a transaction: `rollback` does not undo what came before. */
  begin(): void {
    this.#journal.length = 0
  }

  /** Undoes all changes since `begin`. */
  rollback(): void {
    for (let step = this.#journal.pop(); step; step = this.#journal.pop()) {
      if (step.had) step.dir.edits.set(step.name, step.before)
      else step.dir.edits.delete(step.name)
      step.dir.standing = undefined
      grow(step.dir, { keys: -step.growth.keys, size: -step.growth.size })
    }
  }

  /** Replaces the whole tree. REQUIRES: the nodes and blobs of `data` are
   *  stored, or are in this writer. */
  setRoot(data: Dir): void {
    this.set(this.#top, '', new DraftDir(data))
  }

  /** Sets the entry of a name; undefined removes it. Throws E2BIG if the namespace would have
   *  more keys or bytes than an integer can count, which copies of copies soon reach. REQUIRES:
   *  the name was located before, or the group made `dir`; `dir` is still in the tree; a
   *  DraftDir is set once only. */
  set(dir: DraftDir, name: string, entry: DraftEntry | undefined): void {
    const growth = this.#growth(totalsAt(dir, name), entry ? totalsOf(entry) : nothing)
    const [had, before] = [dir.edits.has(name), dir.edits.get(name)]
    this.#journal.push({ dir, name, had, before, growth })
    dir.edits.set(name, entry)
    if (entry?.type === 'draft') entry.above = dir
    grow(dir, growth)
  }

  /** Walks to a key as `locate` does, but without a promise. Undefined if a node must be loaded, if a
   *  link or a value is on the way, and for the root directory: then call `locate`. */
  peekPlace(
    key: Key,
    options: { readonly follow: boolean; readonly created?: Key[] },
  ): DraftPlace | undefined {
    const components = componentsOf(key)
    let dir = this.root
    for (let depth = 0; depth < components.length; depth++) {
      const name = components[depth] ?? ''
      const entry = this.#peek(dir, name)
      if (entry === notInMemory) return undefined
      if (depth === components.length - 1) {
        if (entry?.type === 'symlink' && options.follow) return undefined
        return { parent: dir, name, key, entry }
      }
      if (entry?.type === 'draft') dir = entry
      else if (entry === undefined && options.created) {
        dir = this.#make(dir, name, keyOf(components.slice(0, depth + 1), 0), options.created)
      } else return undefined
    }
    return undefined
  }

  /** Walks to a key. It follows links in the middle, and a link at the end if `follow` is true; the
   *  caller of the transaction needs `right` on each key that they lead to.
   *  With `created` it makes missing directories on the way, adds their keys to `created`, and
   *  throws ENOTDIR if a value is in the way. Without `created` such a key is missing. Throws
   *  EPERM, ELOOP, EINVAL (a key that is too long behind its links), EDANGLING, ECORRUPT, EIO. */
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
        this.#admit(entry, rest)
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
        dir = this.#make(dir, name, keyOf(components.slice(0, depth + 1), links), options.created)
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

  /** True if the directory has no names. All calls together pass each name of the base once, even
   *  if the names are removed one after the other. */
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

  /** Yields the names of the directory before the group, in order. */
  async *baseNames(dir: DraftDir): AsyncGenerator<string> {
    for await (const [name] of listDir(this.#nodes, dir.base)) yield name
  }

  /** Yields the names of the directory before the group, in order, with what they named. */
  baseEntries(dir: DraftDir): AsyncIterable<readonly [name: string, treeobj: Treeobj]> {
    return listDir(this.#nodes, dir.base)
  }

  /** Writes the nodes of the changed directories, children first, and
   *  returns the new root directory. */
  flush(): Promise<Dir> {
    return this.#flush(this.root, new LoopSlice({ urgent: true }))
  }

  /** Returns an entry as a treeobj, and writes the nodes that it needs. */
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

  /** Throws EPERM if the transaction may not reach the key that a link leads to. */
  #admit({ namespace = this.#namespace, target }: Symlink, rest: readonly string[]): void {
    const admit = admitOf(this.rights, this.right)
    admit?.(namespace, keyOf([...componentsOf(target as Key), ...rest], 1))
  }

  #growth(before: Totals, after: Totals): Totals {
    const growth = { keys: after.keys - before.keys, size: after.size - before.size }
    const keys = this.#top.keys + growth.keys
    const size = this.#top.size + growth.size
    if (Number.isSafeInteger(keys) && Number.isSafeInteger(size)) return growth
    const max = Number.MAX_SAFE_INTEGER
    throw new TailraceError('E2BIG', `a namespace has at most ${max} keys, and as many bytes`)
  }

  /** Makes a missing directory, and adds its key to `created`. */
  #make(above: DraftDir, name: string, key: Key, created: Key[]): DraftDir {
    const made = new DraftDir(emptyDir)
    this.set(above, name, made)
    created.push(key)
    return made
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

/** Returns the keys and bytes that an entry adds to its directory. */
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
