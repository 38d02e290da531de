/** Refuses bodies that are not simply the bytes to store: a part of a value, or a compressed or
 *  wrapped form of it. See rfc/12, rule 25. Pure.
 *  Invariant: a body whose headers say that it is such a form is never stored as plain bytes. */

import type { IncomingHttpHeaders } from 'node:http'
import { invalid } from '../base/shape.js'
import type { TailraceError } from '../error.js'

const unsupportedMediaType = 415

type Unsupported = { readonly error: TailraceError; readonly status: number }

/** Returns the error and the status for a request whose body cannot be stored as it is; undefined
 *  if it can. */
export function checkMeaning(request: {
  readonly method?: string | undefined
  readonly headers: IncomingHttpHeaders
}): Unsupported | undefined {
  const { headers } = request
  if (headers['content-range'] !== undefined) {
    const what = 'a body is always the whole: Content-Range is not taken; POST /v1/kv appends'
    return { error: invalid(what), status: 400 }
  }
  const coding = codingsOf(headers['content-encoding']).find((name) => name !== 'identity')
  if (coding !== undefined) {
    const what = `Content-Encoding "${coding}" is not known here: send the bytes as they are to be stored, with a Content-Type that says what they are`
    return { error: invalid(what), status: unsupportedMediaType }
  }
  const transfer = codingsOf(headers['transfer-encoding'])
  if (transfer.length > 1 || (transfer.length === 1 && transfer[0] !== 'chunked')) {
    const what = `Transfer-Encoding "${headers['transfer-encoding']}" is not known here: chunked is`
    return { error: invalid(what), status: 400 }
  }
  if (/^multipart\/form-data *(;|$)/i.test(headers['content-type'] ?? '')) {
    const what =
      'a form is not taken apart: send the bytes themselves, as `curl -T FILE` and `curl --data-binary @FILE` do'
    return { error: invalid(what), status: unsupportedMediaType }
  }
  return undefined
}

/** Returns the codings of a header in lower case, in their order. */
function codingsOf(header: string | undefined): readonly string[] {
  return (header ?? '')
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '')
}
