/** What the tests of the store ask of answers. */

import { expect } from 'vitest'
import { TailraceError } from '../../src/error.js'

/** The error that a call is refused with; a call that succeeds fails the test. */
export async function refusal(call: Promise<unknown>): Promise<TailraceError> {
  const outcome = await call.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(outcome, 'the call must be refused').toBeInstanceOf(TailraceError)
  return outcome as TailraceError
}

export function text(bytes: Uint8Array | undefined): string {
  expect(bytes, 'the key must be there').toBeDefined()
  return Buffer.from(bytes ?? []).toString('utf8')
}
