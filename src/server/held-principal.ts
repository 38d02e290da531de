/** The sender of a request over HTTP. See rfc/28, rules 7 and 14.
 *  Invariant: a request that is being worked on is cut once the token of its principal, or its link,
 *  is worth nothing any more. */

import { startTimer } from '../base/timer.js'
import type { RequestSpec } from '../wire/request.js'
import type { Reply, Request } from './app.js'
import type { FrontRequest } from './front-request.js'
import { checkLinkedArgs, linkedSubject } from './linked.js'
import type { Principal, PrincipalSource } from './principal.js'
import { resetConnection } from './tls.js'

/** Returns the principal of a request, and holds it until the answer has ended. Throws EUNAUTH (also for a
 *  token that was good when the request came), EPERM (a link gives something else). REQUIRES: the request
 *  came through the front; called once for each. */
export function holdPrincipal(
  principals: PrincipalSource,
  { request: { raw }, reply }: { readonly request: Request; readonly reply: Reply },
  spec: RequestSpec,
  args: Readonly<Record<string, unknown>>,
): Principal {
  const { principal, link } = raw as FrontRequest
  if (!principal) throw new TypeError('the judge names the principal of each request')
  if (link === undefined && principal.isOwner) return principal
  const linked = link === undefined ? undefined : principals.ofLink(link, linkedSubject(spec, args))
  if (linked) checkLinkedArgs(args, linked)
  const holder = linked?.principal ?? principal
  const end = () => resetConnection(raw.socket)
  const { release } = holder.hold(end)
  const stopTimer = linked && startTimer(linked.leftMs, end)
  reply.raw.once('close', () => {
    release()
    stopTimer?.()
  })
  return holder
}
