/** The headers that keep stored bytes from acting as pages of the server, and the requests that no page
 *  may make. See rfc/12, rule 38.
 *  Invariant: every answer has `commonHeaders`, unless a route of the server itself (`/docs`) sets others.
 *  An answer whose media type a client chose has `contentHeaders`. */

import type { IncomingMessage } from 'node:http'
import { TailraceError } from '../error.js'

/** The headers of every answer, unless a route sets others. */
export const commonHeaders = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  // A value that is a page has an origin of its own, runs no script, loads nothing, and stands in no
  // frame.
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
  // A page of another origin cannot load it as an image or a script. Requests with CORS are not bound
  // by it.
  'cross-origin-resource-policy': 'same-origin',
  // A key is a path: no link tells another host of it.
  'referrer-policy': 'no-referrer',
  vary: 'Origin',
} as const

/** The media types that a browser shows without running anything in them, and those that it does not
 *  show anyway. What a list of types that run would leave out would run. */
const inert =
  /^(text\/(plain|csv|event-stream)|application\/(octet-stream|json|x-ndjson)|image\/(png|jpeg|gif|webp|avif)|(audio|video)\/[\w.+-]+)[ \t]*(;[^,]*)?$/i

/** Returns the headers for bytes of a media type that a client chose. Default: any bytes. */
export function contentHeaders(type = 'application/octet-stream'): Record<string, string> {
  const download = inert.test(type) ? {} : { 'content-disposition': 'attachment' }
  return { 'content-type': type, ...download }
}

/** Throws EPERM if a browser asks for a script of a service worker: it would answer in the place of the
 *  server, for all later pages of its origin. */
export function checkNoServiceWorker({ headers }: IncomingMessage): void {
  const asks = headers['service-worker'] !== undefined
  if (!asks && headers['sec-fetch-dest'] !== 'serviceworker') return
  throw new TailraceError('EPERM', 'nothing on this server is a service worker')
}
