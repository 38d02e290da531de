/** Error codes as HTTP statuses and back into errors. See rfc/2. */

import { type Code, parseCode, TailraceError } from '../error.js'
import type { ErrorBody } from './frames.js'

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

export function statusOf(code: Code): number {
  return statuses[code]
}

export function errorBodyOf(error: TailraceError): ErrorBody {
  return {
    code: error.code,
    message: error.message,
    ...(error.failed === undefined ? {} : { failed: error.failed }),
  }
}

/** The error that a peer sent; an envelope that cannot be read is an EIO that says so. */
export function parseErrorBody(input: unknown): TailraceError {
  const body = typeof input === 'object' && input !== null ? (input as Partial<ErrorBody>) : {}
  const code = parseCode(body.code)
  if (!code || typeof body.message !== 'string') {
    return new TailraceError('EIO', 'the server answered with an error that could not be read')
  }
  return new TailraceError(code, body.message, body.failed ? { failed: body.failed } : undefined)
}
