/** The sender of a request over HTTP. See rfc/28, rule 7.
 *  Invariant: a request that is being worked on is cut once the token of its principal is worth nothing
 *  any more. */

import type { Reply, Request } from './app.js'
import type { FrontRequest } from './front-request.js'
import type { Principal } from './principal.js'
import { resetConnection } from './tls.js'

/** Returns the principal of a request, and holds it until the answer has ended. REQUIRES: the request came
 *  through the front; called once for each. */
export function holdPrincipal({ raw }: Request, reply: Reply): Principal {
  const { principal } = raw as FrontRequest
  if (!principal) throw new TypeError('the judge names the principal of each request')
  if (principal.isOwner) return principal
  const { release } = principal.hold(() => resetConnection(raw.socket))
  reply.raw.once('close', release)
  return principal
}
