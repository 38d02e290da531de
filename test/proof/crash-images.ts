/** What a disk may hold after the power went, from the writes and syncs of a run. A sector holds what was
 *  last synced to it or any of the writes since, each sector by itself.
 *  Invariant: every image is one that the system's promises allow; after a sync that failed nothing that
 *  was written before is ever sure again. */

import type { DiskCall } from './strace.js'

/** The least that a disk writes whole. */
export const sectorSize = 512

export type CrashImage = {
  readonly bytes: Buffer
  /** What the child had told by then. */
  readonly told: readonly string[]
  /** For the message of a failure. */
  readonly name: string
}

type Piece = { readonly id: number; readonly at: number; readonly data: Buffer }
type Write = { readonly sectors: readonly number[]; complete: boolean; doubtful: boolean }
/** How many of the pieces that wait for a sector are in it. */
type Choice = (pieces: number) => number

/** `initial` was there before the first call. `samples`: images for each moment at which only some of the sectors were written, besides those
 *  with none and with all. Consecutive equal ones are given once. */
export function* crashImages(
  calls: readonly DiskCall[],
  samples: number,
  random: () => number,
  initial: Buffer = Buffer.alloc(0),
): Iterable<CrashImage> {
  const disk = new Disk(initial)
  const told: string[] = []
  let last: Buffer | undefined
  for (const [moment, call] of calls.entries()) {
    if (call.type === 'told') told.push(...call.text.split('\n').filter((line) => line !== ''))
    if (!disk.apply(call) && call.type !== 'told') continue
    const choices: [string, Choice][] = [
      ['none', () => 0],
      ['all', (pieces) => pieces],
    ]
    for (let sample = 0; sample < samples; sample++) {
      const share = random()
      const some: Choice = (pieces) => (random() < share ? Math.ceil(random() * pieces) : 0)
      choices.push([`some (${sample})`, some])
    }
    for (const [name, choose] of disk.pending > 0 ? choices : choices.slice(0, 1)) {
      const bytes = disk.image(choose)
      if (last?.equals(bytes) && call.type !== 'told') continue
      last = bytes
      yield { bytes, told: [...told], name: `call ${moment} (${call.type}), ${name} of the rest` }
    }
  }
}

/** A sector grows in the system's memory, write by write; what is synced is what it was at some time. */
class Disk {
  #durable: Buffer
  #size: number
  readonly #writes = new Map<number, Write>()
  /** What was written to each sector since it was last synced, in order. */
  readonly #sectors = new Map<number, Piece[]>()
  /** The writes that each sync is about: those that had returned when it began. */
  readonly #syncs = new Map<number, readonly number[]>()

  constructor(initial: Buffer) {
    this.#durable = initial
    this.#size = initial.length
  }

  /** Sectors of which it is not known what they hold. */
  get pending(): number {
    return this.#sectors.size
  }

  /** Whether it changed anything. */
  apply(call: DiskCall): boolean {
    switch (call.type) {
      case 'write':
        this.#write(call.id, call.offset, call.data)
        return true
      case 'written': {
        const write = this.#writes.get(call.id)
        if (write) write.complete = call.ok
        if (call.synced && call.ok) this.#settle([call.id])
        return call.synced
      }
      case 'sync':
        this.#syncs.set(
          call.id,
          [...this.#writes].filter(([, { complete }]) => complete).map(([id]) => id),
        )
        return false
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

  image(choose: Choice): Buffer {
    const chosen: Piece[] = []
    for (const pieces of this.#sectors.values())
      chosen.push(...pieces.slice(0, choose(pieces.length)))
    const size = chosen.reduce((end, { at, data }) => Math.max(end, at + data.length), this.#size)
    const bytes = Buffer.alloc(size)
    this.#durable.copy(bytes, 0, 0, this.#size)
    for (const { at, data } of chosen) data.copy(bytes, at)
    return bytes
  }

  #write(id: number, offset: number, data: Buffer): void {
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
    this.#writes.set(id, { sectors, complete: false, doubtful: false })
  }

  #doubt(id: number): void {
    const write = this.#writes.get(id)
    if (write) write.doubtful = true
  }

  #settle(ids: readonly number[]): void {
    for (const id of ids) {
      const write = this.#writes.get(id)
      if (!write || write.doubtful) continue
      this.#writes.delete(id)
      for (const sector of write.sectors) this.#settleSector(sector, id)
    }
  }

  #settleSector(sector: number, id: number): void {
    const pieces = this.#sectors.get(sector) ?? []
    const rest = pieces.filter((piece) => piece.id > id)
    for (const { at, data } of pieces.slice(0, pieces.length - rest.length)) this.#put(at, data)
    if (rest.length > 0) this.#sectors.set(sector, rest)
    else this.#sectors.delete(sector)
  }

  #put(at: number, data: Buffer): void {
    const end = at + data.length
    if (end > this.#durable.length) {
      const grown = Buffer.alloc(Math.max(end, this.#durable.length * 2))
      this.#durable.copy(grown)
      this.#durable = grown
    }
    data.copy(this.#durable, at)
    this.#size = Math.max(this.#size, end)
  }
}
