/** Pins: roots that are kept by name, whatever the retention of their namespaces. See rfc/10,
 *  rules 16 to 18.
 *  Invariant: a pin stands in the reserved namespace `system` at `pins/NAME`. It is found only in
 *  the life of the namespace that it was made in. */

import { type Pin, pinNameSizeMax } from '../api/history.js'
import type { Op } from '../api/transaction.js'
import { corrupt, isCount } from '../base/stored.js'
import { type Blobref, isBlobref } from '../blob/blobref.js'
import { decode, encode } from '../blob/codec.js'
import { lifeOf } from '../engine/engine.js'
import { TailraceError } from '../error.js'
import { getEntry, listDir } from '../tree/dir.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../treeobj/treeobj.js'

const directory = 'pins'

/** The pins of a store. */
export class Pins {
  readonly #nodes: Nodes
  readonly #system: () => Promise<Dir>
  #cached: { readonly ref: Blobref | undefined; readonly pins: readonly Pin[] } | undefined

  /** `system` returns the newest tree of the namespace of that name. */
  constructor(nodes: Nodes, system: () => Promise<Dir>) {
    this.#nodes = nodes
    this.#system = system
  }

  /** Lists all pins in the order of their names, also those of removed namespaces. Throws ECORRUPT,
   *  EDANGLING, EIO. */
  async list(): Promise<readonly Pin[]> {
    const dir = await getEntry(this.#nodes, await this.#system(), directory)
    if (dir?.type !== 'dir') return []
    const cached = this.#cached
    if (cached && cached.ref === dir.ref) return cached.pins
    const pins: Pin[] = []
    for await (const [name, treeobj] of listDir(this.#nodes, dir)) {
      if (treeobj.type !== 'val') throw corrupt(`the pin ${name}`)
      pins.push(decodePin(name, treeobj.data))
    }
    this.#cached = { ref: dir.ref, pins }
    return pins
  }

  /** Finds a pin of a root in the life of a namespace, by the root's seq or ref. */
  async holding(incarnation: string, at: number | string): Promise<Pin | undefined> {
    const pins = await this.list()
    const life = lifeOf(incarnation)
    return pins.find(
      (pin) => lifeOf(pin.incarnation) === life && (pin.seq === at || pin.ref === at),
    )
  }
}

/** Returns the key of a pin in `system`. Throws EINVAL for a wrong name. */
export function pinKey(name: string): string {
  if (name.length > pinNameSizeMax || !/^[A-Za-z0-9._-]+$/.test(name) || /^\.\.?$/.test(name)) {
    const message = `a pin's name is 1 to ${pinNameSizeMax} of A-Z, a-z, 0-9, ".", "_" and "-"`
    throw new TailraceError('EINVAL', message)
  }
  return `${directory}/${name}`
}

/** Returns the op that writes a pin, in place of an earlier one of that name. */
export function putPin(pin: Pin): Op {
  return { op: 'put', key: pinKey(pin.name), value: encodePin(pin) }
}

/** Encodes a pin as canonical msgpack: `[1, namespace, incarnation, seq, ref, time, pinned]`. */
export function encodePin({ namespace, incarnation, seq, ref, time, pinned }: Pin): Uint8Array {
  return encode([1, namespace, incarnation, seq, ref, time, pinned])
}

/** Decodes a pin. Throws ECORRUPT. */
export function decodePin(name: string, bytes: Uint8Array): Pin {
  const fields = decode(bytes)
  if (!Array.isArray(fields) || fields[0] !== 1) throw corrupt(`the pin ${name}`)
  const [, namespace, incarnation, seq, ref, time, pinned] = fields as readonly unknown[]
  if (typeof namespace !== 'string' || typeof incarnation !== 'string')
    throw corrupt(`the pin ${name}`)
  if (
    !isCount(seq) ||
    typeof ref !== 'string' ||
    !isBlobref(ref) ||
    !isTime(time) ||
    !isTime(pinned)
  )
    throw corrupt(`the pin ${name}`)
  return { name, namespace, incarnation, seq, ref, time, pinned }
}

function isTime(input: unknown): input is number {
  return typeof input === 'number' && Number.isFinite(input)
}
