/** The requests on access tokens, links and tickets. See rfc/28, rules 4 to 7 and 14 to 16. */

import {
  createLink,
  createTicket,
  createToken,
  listTokens,
  renewToken,
  revokeToken,
} from '../wire/tokens.js'
import type { Routes } from './routes.js'

export function serveTokens(routes: Routes): void {
  routes.serve(createToken, ({ name, ...options }, { context }) =>
    context.store.tokens.create(name, options),
  )
  routes.serve(createLink, (options, { context }) => context.store.tokens.link(options))
  routes.serve(createTicket, async (_args, { context }) => context.newTicket())
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
