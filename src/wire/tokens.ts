/** Requests on access tokens. See rfc/28, rules 4 to 7. */

import {
  type AccessToken,
  accessTokenTtlMax,
  accessTokenTtlMin,
  grantsMax,
  linkTtlMax,
  linkTtlMin,
  type NewAccessToken,
  type SignedLink,
} from '../api/access.js'
import { request } from './request.js'
import {
  answered,
  arrayOf,
  asked,
  count,
  flag,
  integer,
  named,
  number,
  optional,
  text,
} from './schema.js'

const fields = {
  id: text,
  name: text,
  grants: arrayOf(text),
  created: count,
  expires: count,
  rate: optional(number),
  parent: optional(text),
}
const token = named('AccessToken', answered<AccessToken>(fields))
const newToken = named('NewAccessToken', answered<NewAccessToken>({ ...fields, token: text }))
const ttl = optional(integer(accessTokenTtlMin, accessTokenTtlMax))

export const createToken = request({
  name: 'tokens.create',
  method: 'POST',
  path: '/v1/tokens',
  summary: 'Make an access token; its text is told once',
  right: 'admin',
  status: 201,
  body: named(
    'CreateToken',
    asked<{
      readonly name: string
      readonly grants: readonly string[]
      readonly ttl?: number
      readonly rate?: number
    }>({
      name: text,
      grants: arrayOf(text, { max: grantsMax, message: `a token has at most ${grantsMax} grants` }),
      ttl,
      rate: optional(number),
    }),
  ),
  answer: newToken,
  errors: ['EPERM', 'EBUSY', 'E2BIG'],
})

export const listTokens = request({
  name: 'tokens.list',
  method: 'GET',
  path: '/v1/tokens',
  summary: 'List access tokens, without their texts',
  right: 'admin',
  answer: answered<{ readonly tokens: AccessToken[] }>({ tokens: arrayOf(token) }),
  errors: [],
})

export const renewToken = request({
  name: 'tokens.renew',
  method: 'PATCH',
  path: '/v1/tokens/:id',
  summary: 'Set the time until an access token expires',
  right: 'admin',
  body: asked<{ readonly ttl?: number }>({ ttl }),
  answer: token,
  errors: ['ENOENT', 'EPERM'],
})

export const revokeToken = request({
  name: 'tokens.revoke',
  method: 'DELETE',
  path: '/v1/tokens/:id',
  summary: 'Revoke an access token, and all that it made',
  right: 'admin',
  answer: answered<{ readonly revoked: string[] }>({ revoked: arrayOf(text) }),
  errors: ['ENOENT'],
})

export const createLink = request({
  name: 'links.create',
  method: 'POST',
  path: '/v1/links',
  summary: 'Sign a path that lets who has no token read one key or one job for a while',
  right: 'read',
  status: 201,
  body: named(
    'CreateLink',
    asked<{
      readonly key?: string
      readonly namespace?: string
      readonly job?: string
      readonly follow?: boolean
      readonly ttl?: number
    }>({
      key: optional(text),
      namespace: optional(text),
      job: optional(text),
      follow: optional(flag),
      ttl: optional(integer(linkTtlMin, linkTtlMax)),
    }),
  ),
  answer: named('SignedLink', answered<SignedLink>({ path: text, expires: count })),
  errors: ['EPERM'],
})

export const createTicket = request({
  name: 'tickets.create',
  method: 'POST',
  path: '/v1/tickets',
  summary: 'Make a ticket, which stands for the token of the caller once',
  right: 'read',
  status: 201,
  body: asked<Record<never, never>>({}),
  answer: named(
    'Ticket',
    answered<{ readonly ticket: string; readonly expires: number }>({
      ticket: text,
      expires: count,
    }),
  ),
  errors: ['EBUSY'],
})
