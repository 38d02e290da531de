/** The history of namespaces, over a server: roots, differences, the past of a key, pins. See
 *  rfc/10, rfc/12. */

import type {
  DiffOptions,
  DiffPage,
  History,
  LogOptions,
  LogPage,
  Pin,
  RootPage,
  RootsOptions,
} from '../api/history.js'
import type { Scope } from '../api/transaction.js'
import { diff, log, makePin, pins, roots, unpin } from '../wire/history.js'
import type { Road } from './road.js'

type Signal = { readonly signal?: AbortSignal }

export class RemoteHistory implements History {
  readonly #road: Road

  constructor(road: Road) {
    this.#road = road
  }

  async roots({ signal, ...args }: RootsOptions = {}): Promise<RootPage> {
    return this.#road.call(roots, args, signal)
  }

  async diff({ signal, ...args }: DiffOptions): Promise<DiffPage> {
    return this.#road.call(diff, args, signal)
  }

  async log(key: string, { signal, ...args }: LogOptions = {}): Promise<LogPage> {
    return this.#road.call(log, { key, ...args }, signal)
  }

  async pin(
    name: string,
    { signal, ...args }: Scope & { readonly at?: number | string } = {},
  ): Promise<Pin> {
    return this.#road.call(makePin, { name, ...args }, signal)
  }

  async unpin(name: string, { signal }: Signal = {}): Promise<void> {
    await this.#road.call(unpin, { name }, signal)
  }

  async pins({ signal }: Signal = {}): Promise<Pin[]> {
    return (await this.#road.call(pins, {}, signal)).pins
  }
}
