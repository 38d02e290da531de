/** Access tokens, over a server. See rfc/28. */

import type {
  AccessToken,
  AccessTokens,
  CreateTokenOptions,
  LinkOptions,
  NewAccessToken,
  SignedLink,
} from '../api/access.js'
import { createLink, createToken, listTokens, renewToken, revokeToken } from '../wire/tokens.js'
import type { Road } from './road.js'

type Signal = { readonly signal?: AbortSignal }

export class RemoteTokens implements AccessTokens {
  readonly #road: Road

  constructor(road: Road) {
    this.#road = road
  }

  async create(name: string, { signal, ...args }: CreateTokenOptions): Promise<NewAccessToken> {
    return this.#road.call(createToken, { name, ...args }, signal)
  }

  async list({ signal }: Signal = {}): Promise<AccessToken[]> {
    return (await this.#road.call(listTokens, {}, signal)).tokens
  }

  async renew(
    id: string,
    { signal, ...args }: Signal & { readonly ttl?: number } = {},
  ): Promise<AccessToken> {
    return this.#road.call(renewToken, { id, ...args }, signal)
  }

  async revoke(id: string, { signal }: Signal = {}): Promise<string[]> {
    return (await this.#road.call(revokeToken, { id }, signal)).revoked
  }

  async link({ signal, ...args }: LinkOptions): Promise<SignedLink> {
    return this.#road.call(createLink, args, signal)
  }
}
