/** Errors as they cross the wire: their envelope, and the HTTP status of each code. See rfc/2, rule
 *  9. */

import { type Code, codes, type Failed, parseCode, TailraceError } from '../error.js'
import { answered, anything, count, named, oneOf, optional, text } from './schema.js'

/** The body of every error. HTTP sends it as `{error: ErrorBody}`. */
export type ErrorBody = {
  readonly code: Code
  readonly message: string
  /** The op or guard for which a transaction was refused, and the state that it met. */
  readonly failed?: Failed
}

const errorBody = named(
  'ErrorBody',
  answered<ErrorBody>({
    code: oneOf(...codes),
    message: text,
    failed: optional(
      answered<Failed>({
        guard: optional(count),
        op: optional(count),
        state: optional(anything),
      }),
    ),
  }),
)
/** The answer of a request that failed. */
export const errorEnvelope = named(
  'Error',
  answered<{ readonly error: ErrorBody }>({ error: errorBody }),
)

const statuses: Readonly<Record<Code, number>> = {
  EINVAL: 400,
  EUNAUTH: 401,
  EPERM: 403,
  ENOENT: 404,
  ENONS: 404,
  ECONFLICT: 409,
  EFENCED: 409,
  EEXIST: 409,
  EISDIR: 409,
  ENOTDIR: 409,
  ENOTEMPTY: 409,
  ESEALED: 409,
  EOVERWRITTEN: 409,
  ECOMPACTED: 410,
  E2BIG: 413,
  ELOOP: 422,
  EIO: 500,
  ECORRUPT: 500,
  EDANGLING: 500,
  EUNKNOWN: 500,
  EBUSY: 503,
  ECLOSED: 503,
  ECANCELED: 499,
  ETIMEDOUT: 504,
  ENOSPC: 507,
  EDQUOT: 507,
  EMISCONFIGURED: 500,
}

/** Returns the HTTP status of a code, from the table of rfc/2. */
export function statusOf(code: Code): number {
  return statuses[code]
}

/** Returns the body of an error; the cause and the stack are left out. */
export function errorBodyOf(error: TailraceError): ErrorBody {
  return {
    code: error.code,
    message: error.message,
    ...(error.failed === undefined ? {} : { failed: error.failed }),
  }
}

/** Returns the error that a peer sent. Returns an EIO if the body, or its code, cannot be read. */
export function parseErrorBody(input: unknown): TailraceError {
  const body = typeof input === 'object' && input !== null ? (input as Partial<ErrorBody>) : {}
  const code = parseCode(body.code)
  if (!code || typeof body.message !== 'string') {
    return new TailraceError('EIO', 'the server answered with an error that could not be read')
  }
  return new TailraceError(code, body.message, body.failed ? { failed: body.failed } : undefined)
}
