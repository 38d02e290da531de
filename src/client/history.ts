/** The time of namespaces behind a server: roots, differences, pasts of keys, pins, settings. See rfc/10,
 *  rfc/12. */

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
import { encodeText } from '../wire/bytes.js'
import * as answers from '../wire/history.js'
import type { Http } from './http.js'
import { componentOf, pathOf, pathOfKey } from './path.js'
import { namespaceOf } from './scope.js'

type Signal = { readonly signal?: AbortSignal }

const json = { 'content-type': 'application/json' }

export class RemoteHistory implements History {
  readonly #http: Http

  constructor(http: Http) {
    this.#http = http
  }

  async roots(options: RootsOptions = {}): Promise<RootPage> {
    const { after, before, newest, limit, signal } = options
    const path = pathOf('roots', { ...namespaceOf(options), after, before, newest, limit })
    return this.#http.readJson(path, { signal }, answers.parseRootPage)
  }

  async diff(options: DiffOptions): Promise<DiffPage> {
    const { from, to, prefix, after, limit, signal } = options
    const path = pathOf('diff', { ...namespaceOf(options), from, to, prefix, after, limit })
    return this.#http.readJson(path, { signal }, answers.parseDiffPage)
  }

  async log(key: string, options: LogOptions = {}): Promise<LogPage> {
    const { before, limit, signal } = options
    const path = pathOfKey('log', key, { ...namespaceOf(options), before, limit })
    return this.#http.readJson(path, { signal }, answers.parseLogPage)
  }

  async pin(name: string, options: Scope & { readonly at?: number | string } = {}): Promise<Pin> {
    const { namespace, at, signal } = options
    const body = encodeText(JSON.stringify({ namespace, at }))
    const path = pathOf(`pins/${componentOf(name)}`)
    return this.#http.write({ method: 'PUT', path, headers: json, body, signal }, answers.parsePin)
  }

  async unpin(name: string, options: Signal = {}): Promise<void> {
    const path = pathOf(`pins/${componentOf(name)}`)
    await this.#http.write({ method: 'DELETE', path, signal: options.signal }, () => undefined)
  }

  async pins(options: Signal = {}): Promise<Pin[]> {
    return this.#http.readJson(pathOf('pins'), options, answers.parsePins)
  }
}
