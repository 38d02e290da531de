/** Namespaces and their settings, over a server. See rfc/6, rfc/10, rfc/12. */

import type {
  CreateNamespaceOptions,
  Namespaces,
  NamespaceView,
  Settings,
  SettingsChange,
} from '../api/namespace.js'
import {
  configureNamespace,
  createNamespace,
  listNamespaces,
  removeNamespace,
} from '../wire/namespaces.js'
import type { Road } from './road.js'

type Signal = { readonly signal?: AbortSignal }

export class RemoteNamespaces implements Namespaces {
  readonly #road: Road

  constructor(road: Road) {
    this.#road = road
  }

  async list({ signal }: Signal = {}): Promise<NamespaceView[]> {
    return (await this.#road.call(listNamespaces, {}, signal)).namespaces
  }

  async create(
    name: string,
    { signal, ...args }: CreateNamespaceOptions = {},
  ): Promise<NamespaceView> {
    return this.#road.call(createNamespace, { name, ...args }, signal)
  }

  async remove(name: string, { signal }: Signal = {}): Promise<void> {
    await this.#road.call(removeNamespace, { name }, signal)
  }

  async configure(
    name: string,
    change: SettingsChange,
    { signal }: Signal = {},
  ): Promise<Settings> {
    return this.#road.call(configureNamespace, { name, ...change }, signal)
  }
}
