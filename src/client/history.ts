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
import type { Http } from './http.js'

type Signal = { readonly signal?: AbortSignal }

export class RemoteHistory implements History {
  readonly #http: Http

  constructor(http: Http) {
    this.#http = http
  }

  async roots({ signal, ...args }: RootsOptions = {}): Promise<RootPage> {
    return this.#http.call(roots, args, { signal })
  }

  async diff({ signal, ...args }: DiffOptions): Promise<DiffPage> {
    return this.#http.call(diff, args, { signal })
  }

  async log(key: string, { signal, ...args }: LogOptions = {}): Promise<LogPage> {
    return this.#http.call(log, { key, ...args }, { signal })
  }

  async pin(
    name: string,
    { signal, ...args }: Scope & { readonly at?: number | string } = {},
  ): Promise<Pin> {
    return this.#http.call(makePin, { name, ...args }, { signal })
  }

  async unpin(name: string, { signal }: Signal = {}): Promise<void> {
    await this.#http.call(unpin, { name }, { signal })
  }

  async pins({ signal }: Signal = {}): Promise<Pin[]> {
    return (await this.#http.call(pins, {}, { signal })).pins
  }
}
