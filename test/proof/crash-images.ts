/** What a disk may hold after the power went, from the calls of a run. A sector of a file holds what was last
 *  synced to it or any of the writes since, each sector by itself; the length of a file is any that it had
 *  since; a name leads to what it led to when its directory was last synced, or after any of the changes
 *  since, each name by itself.
 *  Invariant: every image is one that the system's promises allow; after a sync that failed nothing that
 *  was written before is ever sure again. */

import { dirname } from 'node:path'
import type { DiskCall } from './strace.js'

/** The least that a disk writes whole. */
export const sectorSize = 512

/** The bytes of each file by its path. */
export type DiskFiles = ReadonlyMap<string, Buffer>

export type CrashImage = {
  readonly files: DiskFiles
  /** What the child had told by then. */
  readonly told: readonly string[]
  /** For the message of a failure. */
  readonly name: string
}

/** How many of the changes that wait are there. */
type Choice = (changes: number) => number

/** `initial` was there before the first call. `samples`: images for each moment at which only some of the
 *  changes were made, besides those with none and with all. Consecutive equal ones are given once. */
export function* crashImages(
  calls: readonly DiskCall[],
  samples: number,
  random: () => number,
  initial: DiskFiles = new Map(),
): Iterable<CrashImage> {
  const disk = new Disk(initial)
  const told: string[] = []
  let last: DiskFiles | undefined
  for (const [moment, call] of calls.entries()) {
    if (call.type === 'told') told.push(...call.text.split('\n').filter((line) => line !== ''))
    if (!disk.apply(call) && call.type !== 'told') continue
    const choices: [string, Choice][] = [
      ['none', () => 0],
      ['all', (changes) => changes],
    ]
    for (let sample = 0; sample < samples; sample++) {
      const share = random()
      const some: Choice = (changes) => (random() < share ? Math.ceil(random() * changes) : 0)
      choices.push([`some (${sample})`, some])
    }
    for (const [name, choose] of disk.isPending ? choices : choices.slice(0, 1)) {
      const files = disk.image(choose)
      if (last && areEqual(last, files) && call.type !== 'told') continue
      last = files
      yield { files, told: [...told], name: `call ${moment} (${call.type}), ${name} of the rest` }
    }
  }
}

/** The id of the part of a rename that removes the old name, which another directory's sync settles. */
function leavingOf(id: number): number {
  return id + 0.5
}

function areEqual(a: DiskFiles, b: DiskFiles): boolean {
  return a.size === b.size && [...a].every(([path, bytes]) => b.get(path)?.equals(bytes))
}

/** The files and their names. */
class Disk {
  /** What each name leads to, by path. */
  readonly #names = new Map<string, Name>()
  /** The change that a call under way makes, or has made, by its id. */
  readonly #changes = new Map<
    number,
    { readonly settle: () => void; complete: boolean; doubtful: boolean }
  >()
  /** The changes that each sync is about: those that had returned when it began. */
  readonly #syncs = new Map<number, readonly number[]>()
  /** The path whose sync settles a change. */
  readonly #syncedBy = new Map<number, string>()
  /** The changes that concern many names, all of which they change or none. */
  readonly #whole = new Set<number>()

  constructor(initial: DiskFiles) {
    for (const [path, bytes] of initial) this.#names.set(path, new Name(new File(bytes)))
  }

  /** True if it is not known what the disk holds. */
  get isPending(): boolean {
    return [...this.#names.values()].some((name) => name.isPending)
  }

  /** Returns true if it changed anything. */
  apply(call: DiskCall): boolean {
    switch (call.type) {
      case 'write':
        return this.#change(call, (file) => file.write(call.id, call.offset, call.data))
      case 'truncate':
        return this.#change(call, (file) => file.truncate(call.id, call.size))
      case 'punch':
        return this.#change(call, (file) => file.punch(call.id, call.offset, call.size))
      case 'create': {
        if (this.#names.get(call.path)?.file) return false
        this.#name(call.id, call.path, new File())
        this.#complete(call.id)
        return true
      }
      case 'unlink':
        this.#name(call.id, call.path, undefined)
        return true
      case 'rename': {
        for (const [path, { file }] of [...this.#names]) {
          if (path !== call.path && !path.startsWith(`${call.path}/`)) continue
          this.#name(call.id, call.to + path.slice(call.path.length), file)
          this.#name(leavingOf(call.id), path, undefined)
        }
        // A directory is renamed with all that is in it, where its own name stands.
        this.#syncedBy.set(call.id, dirname(call.to))
        this.#syncedBy.set(leavingOf(call.id), dirname(call.path))
        this.#whole.add(call.id).add(leavingOf(call.id))
        return true
      }
      case 'changed': {
        for (const id of [call.id, leavingOf(call.id)]) {
          if (call.ok) this.#complete(id)
          else for (const name of this.#names.values()) name.forget(id)
        }
        if (call.synced && call.ok) this.#settle([call.id])
        return call.synced
      }
      case 'sync': {
        const ids = [...this.#changes].filter(([, { complete }]) => complete).map(([id]) => id)
        this.#syncs.set(
          call.id,
          ids.filter((id) => this.#syncedBy.get(id) === call.path),
        )
        return false
      }
      case 'synced': {
        const ids = this.#syncs.get(call.id) ?? []
        if (call.ok) this.#settle(ids)
        else for (const id of ids) this.#doubt(id)
        return ids.length > 0
      }
      default:
        return false
    }
  }

  image(choose: Choice): DiskFiles {
    const files = new Map<string, Buffer>()
    const made = new Map([...this.#whole].map((id) => [id, choose(1) === 1]))
    for (const [path, name] of this.#names) {
      const file = name.image(choose, made)
      if (file) files.set(path, file.image(choose))
    }
    return files
  }

  #change(
    call: { readonly path: string; readonly id: number },
    act: (file: File) => void,
  ): boolean {
    const file = this.#names.get(call.path)?.file
    if (!file) return false // it was removed, and is held open
    act(file)
    this.#syncedBy.set(call.id, call.path)
    this.#changes.set(call.id, {
      settle: () => file.settle(call.id),
      ...{ complete: false, doubtful: false },
    })
    return true
  }

  #name(id: number, path: string, file: File | undefined): void {
    const name = this.#names.get(path) ?? new Name(undefined)
    this.#names.set(path, name)
    name.change(id, file)
    const before = this.#changes.get(id)
    this.#syncedBy.set(id, dirname(path))
    this.#changes.set(id, {
      settle: () => {
        before?.settle()
        name.settle(id)
      },
      ...{ complete: false, doubtful: false },
    })
  }

  #complete(id: number): void {
    const change = this.#changes.get(id)
    if (change) change.complete = true
  }

  #doubt(id: number): void {
    const change = this.#changes.get(id)
    if (change) change.doubtful = true
  }

  #settle(ids: readonly number[]): void {
    for (const id of ids) {
      const change = this.#changes.get(id)
      if (!change || change.doubtful) continue
      this.#changes.delete(id)
      change.settle()
    }
  }
}

/** Something that changes step by step: it is what it was when it was last synced, or after any number of
 *  the changes since. */
class History<T> {
  #durable: T
  #waiting: { readonly id: number; readonly value: T }[] = []

  constructor(durable: T) {
    this.#durable = durable
  }

  get isPending(): boolean {
    return this.#waiting.length > 0
  }

  get newest(): T {
    return this.#waiting.at(-1)?.value ?? this.#durable
  }

  change(id: number, value: T): void {
    this.#waiting.push({ id, value })
  }

  /** The changes up to this one are sure. */
  settle(id: number): void {
    for (const change of this.#waiting) if (change.id <= id) this.#durable = change.value
    this.#waiting = this.#waiting.filter((change) => change.id > id)
  }

  /** `made` says of some changes if they were made. */
  image(choose: Choice, made: ReadonlyMap<number, boolean> = new Map()): T {
    if (this.#waiting.length === 0) return this.#durable
    const [least, most] = this.#range(made)
    const count = Math.min(most, Math.max(least, choose(this.#waiting.length)))
    return count === 0 ? this.#durable : (this.#waiting[count - 1]?.value ?? this.#durable)
  }

  /** The change was not made. */
  forget(id: number): void {
    this.#waiting = this.#waiting.filter((change) => change.id !== id)
  }

  /** How many of the changes are there at least, and at most. */
  #range(made: ReadonlyMap<number, boolean>): readonly [number, number] {
    const missing = this.#waiting.findIndex(({ id }) => made.get(id) === false)
    const most = missing < 0 ? this.#waiting.length : missing
    const there = this.#waiting.slice(0, most).findLastIndex(({ id }) => made.get(id) === true)
    return [there + 1, most]
  }
}

/** A name in a directory. */
class Name {
  readonly #file: History<{ readonly file: File | undefined }>

  constructor(file: File | undefined) {
    this.#file = new History({ file })
  }

  get file(): File | undefined {
    return this.#file.newest.file
  }

  get isPending(): boolean {
    return this.#file.isPending || this.file?.isPending === true
  }

  change(id: number, file: File | undefined): void {
    this.#file.change(id, { file })
  }

  settle(id: number): void {
    this.#file.settle(id)
  }

  /** A rename or removal that failed changed nothing; a write that failed may have. */
  forget(id: number): void {
    this.#file.forget(id)
  }

  image(choose: Choice, made: ReadonlyMap<number, boolean>): File | undefined {
    return this.#file.image(choose, made).file
  }
}

type Piece = { readonly id: number; readonly at: number; readonly data: Buffer }

/** A sector grows in the system's memory, write by write; what is synced is what it was at some time. */
class File {
  #durable: Buffer
  readonly #size: History<number>
  /** What was written to each sector since it was last synced, in order. */
  readonly #sectors = new Map<number, Piece[]>()
  /** The sectors that each change is about. */
  readonly #touched = new Map<number, readonly number[]>()

  constructor(initial: Buffer = Buffer.alloc(0)) {
    this.#durable = initial
    this.#size = new History(initial.length)
  }

  get isPending(): boolean {
    return this.#sectors.size > 0 || this.#size.isPending
  }

  write(id: number, offset: number, data: Buffer): void {
    this.#put(id, offset, data)
    if (offset + data.length > this.#size.newest) this.#size.change(id, offset + data.length)
  }

  truncate(id: number, size: number): void {
    const before = this.#size.newest
    if (size < before) this.#put(id, size, Buffer.alloc(before - size))
    this.#size.change(id, size)
  }

  punch(id: number, offset: number, size: number): void {
    const end = Math.min(offset + size, this.#size.newest)
    if (end > offset) this.#put(id, offset, Buffer.alloc(end - offset))
  }

  settle(id: number): void {
    this.#size.settle(id)
    const touched = this.#touched.get(id) ?? []
    this.#touched.delete(id)
    for (const sector of touched) this.#settleSector(sector, id)
  }

  /** A length that was reached and data that was written are there each by itself: a hole is zeros. */
  image(choose: Choice): Buffer {
    const chosen: Piece[] = []
    for (const pieces of this.#sectors.values())
      chosen.push(...pieces.slice(0, choose(pieces.length)))
    const bytes = Buffer.alloc(this.#size.image(choose))
    this.#durable.copy(bytes)
    for (const { at, data } of chosen) if (at < bytes.length) data.copy(bytes, at)
    return bytes
  }

  #put(id: number, offset: number, data: Buffer): void {
    const sectors: number[] = []
    for (let from = 0; from < data.length; ) {
      const sector = Math.floor((offset + from) / sectorSize)
      const to = Math.min(data.length, (sector + 1) * sectorSize - offset)
      const pieces = this.#sectors.get(sector) ?? []
      pieces.push({ id, at: offset + from, data: data.subarray(from, to) })
      this.#sectors.set(sector, pieces)
      sectors.push(sector)
      from = to
    }
    this.#touched.set(id, sectors)
  }

  #settleSector(sector: number, id: number): void {
    const pieces = this.#sectors.get(sector) ?? []
    const rest = pieces.filter((piece) => piece.id > id)
    for (const { at, data } of pieces.slice(0, pieces.length - rest.length)) this.#keep(at, data)
    if (rest.length > 0) this.#sectors.set(sector, rest)
    else this.#sectors.delete(sector)
  }

  #keep(at: number, data: Buffer): void {
    const end = at + data.length
    if (end > this.#durable.length) {
      const grown = Buffer.alloc(Math.max(end, this.#durable.length * 2))
      this.#durable.copy(grown)
      this.#durable = grown
    }
    data.copy(this.#durable, at)
  }
}
