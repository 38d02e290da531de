/** Principals for tests of what lies below the routes: everybody is one and the same. */

import { TailraceError } from '../../src/error.js'
import { Principal, type PrincipalSource } from '../../src/server/principal.js'

const anybody = new Principal(undefined)

/** No token is right. */
export const noPrincipals: PrincipalSource = {
  owner: anybody,
  stranger: anybody,
  of: refuse,
  ofTicket: refuse,
  ofLink: refuse,
}

function refuse(): never {
  throw new TailraceError('EUNAUTH', 'no token is right')
}
