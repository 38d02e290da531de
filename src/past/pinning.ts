/** Pins and unpins roots. See rfc/10, rules 16 to 19.
 *  Invariant: a collection never frees the tree of a pinned root, since the root is held from
 *  before it is checked until its pin is durable. */

import { type History, type Pin, pinsMax } from '../api/history.js'
import type { Op, Scope } from '../api/transaction.js'
import { lifeOf } from '../engine/engine.js'
import { TailraceError } from '../error.js'
import type { LiveNamespace } from './namespace.js'
import type { Past } from './past.js'
import { pinKey, putPin } from './pins.js'

type PinningPorts = {
  readonly past: Past
  /** Returns a namespace. Throws ENONS, EINVAL, ECLOSED. */
  readonly find: (namespace: string | undefined) => LiveNamespace
  /** Commits an op in the namespace `system`. */
  readonly write: (op: Op) => Promise<unknown>
  /** Returns the time of the wall clock, ms since 1970. */
  readonly now: () => number
}

/** The calls that change pins. */
export class Pinning implements Pick<History, 'pin' | 'unpin' | 'pins'> {
  readonly #ports: PinningPorts
  /** The end of the change of pins that was begun last. They run one at a time, so that pins
   *  can be counted. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(ports: PinningPorts) {
    this.#ports = ports
  }

  async pins(): Promise<Pin[]> {
    return [...(await this.#ports.past.pins.list())]
  }

  async pin(name: string, options: Scope & { readonly at?: number | string } = {}): Promise<Pin> {
    pinKey(name)
    return this.exclusively(() => this.#pin(name, options))
  }

  /** Runs `act` while no pin changes. */
  exclusively<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#last.then(act)
    this.#last = done.catch(() => {}) // the caller gets the error by `done`
    return done
  }

  async unpin(name: string): Promise<void> {
    const key = pinKey(name)
    return this.exclusively(() => this.#unpin(name, key))
  }

  async #unpin(name: string, key: string): Promise<void> {
    const pins = await this.#ports.past.pins.list()
    if (!pins.some((pin) => pin.name === name)) throw missing(name)
    await this.#ports.write({ op: 'unlink', key })
  }

  async #pin(name: string, options: Scope & { readonly at?: number | string }): Promise<Pin> {
    const { past, find, write, now } = this.#ports
    const live = find(options.namespace)
    using held = await past.hold(live, options.at)
    const pins = await this.#ports.past.pins.list()
    const { seq, ref, time } = held.root
    const { incarnation } = live.record
    const known = pins.find((pin) => pin.name === name)
    if (known) {
      const same = lifeOf(known.incarnation) === lifeOf(incarnation)
      if (same && known.seq === seq && known.ref === ref) return known
      const message = `the pin ${name} holds seq ${known.seq} of ${known.namespace}: unpin it first`
      throw new TailraceError('EEXIST', message)
    }
    if (pins.length >= pinsMax) {
      throw new TailraceError('E2BIG', `there are ${pinsMax} pins: unpin some first`)
    }
    const pin = { name, namespace: live.name, incarnation, seq, ref, time, pinned: now() }
    await write(putPin(pin))
    return pin
  }
}

function missing(name: string): TailraceError {
  return new TailraceError('ENOENT', `there is no pin ${name}`)
}
