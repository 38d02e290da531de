/** The requests on access tokens. See rfc/28, rules 4 to 7. */

import { createToken, listTokens, renewToken, revokeToken } from '../wire/tokens.js'
import type { Routes } from './routes.js'

export function serveTokens(routes: Routes): void {
  routes.serve(createToken, ({ name, ...options }, { context }) =>
    context.store.tokens.create(name, options),
  )
  routes.serve(listTokens, async (_args, { context }) => ({
    tokens: await context.store.tokens.list(),
  }))
  routes.serve(renewToken, ({ id, ...options }, { context }) =>
    context.store.tokens.renew(id, options),
  )
  routes.serve(revokeToken, async ({ id }, { context }) => ({
    revoked: await context.store.tokens.revoke(id),
  }))
}
