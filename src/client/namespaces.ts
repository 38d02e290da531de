/** Namespaces of a store behind a server. See rfc/6, rfc/10, rfc/12. */

import type {
  CreateNamespaceOptions,
  Namespaces,
  NamespaceView,
  Settings,
  SettingsChange,
} from '../api/namespace.js'
import { parseNamespaceView, parseNamespaceViews, parseSettings } from '../wire/answers.js'
import { encodeText } from '../wire/bytes.js'
import type { Http } from './http.js'
import { componentOf, pathOf } from './path.js'

type Signal = { readonly signal?: AbortSignal }

const json = { 'content-type': 'application/json' }

export class RemoteNamespaces implements Namespaces {
  readonly #http: Http

  constructor(http: Http) {
    this.#http = http
  }

  async list(options: Signal = {}): Promise<NamespaceView[]> {
    return this.#http.readJson(pathOf('ns'), options, parseNamespaceViews)
  }

  async create(name: string, options: CreateNamespaceOptions = {}): Promise<NamespaceView> {
    const { from } = options
    return this.#http.writeJson(pathOf('ns'), { name, from }, options, parseNamespaceView)
  }

  async remove(name: string, options: Signal = {}): Promise<void> {
    const path = pathOf(`ns/${componentOf(name)}`)
    await this.#http.write({ method: 'DELETE', path, signal: options.signal }, () => undefined)
  }

  async configure(name: string, change: SettingsChange, options: Signal = {}): Promise<Settings> {
    const body = encodeText(JSON.stringify(change))
    const path = pathOf(`ns/${componentOf(name)}`)
    const request = { method: 'PATCH' as const, path, headers: json, body, signal: options.signal }
    return this.#http.write(request, (input) => parseSettings(input))
  }
}
