/** The answer to a streamed read: its Stat from the header, then its bytes as they come. See
 *  rfc/12, rules 9 and 16.
 *  Invariant: a stream that was cut never looks whole, and a damaged value is not called a lost
 *  connection. */

import type { Reading, Stat } from '../api/kvs.js'
import { isCode, TailraceError } from '../error.js'
import { stat as statShape } from '../wire/keys.js'
import { parse } from '../wire/schema.js'
import { decodeJsonText, readAnswer } from './answer.js'
import type { HttpResponse } from './transport.js'

/** The errors that a value causes, not the connection. */
const ofTheValue = ['ECORRUPT', 'EDANGLING', 'EIO'] as const

/** Reads the byte that did not come. The server could not send an error in the middle of a value;
 *  here it can. Throws the same as a read. */
type ReadOn = (stat: Stat, received: number) => Promise<unknown>

/** Makes a `Reading` of an answer. Its `chunks` hold a connection until they are iterated to their
 *  end, or the client is disposed. Throws EIO. */
export function readingOf(response: HttpResponse, readOn: ReadOn): Reading {
  try {
    const header = decodeJsonText(response.header('tailrace-stat'))
    const stat = readAnswer(() => parse(statShape, header, 'Tailrace-Stat'))
    return { stat, chunks: chunksOf(response, (received) => readOn(stat, received)) }
  } catch (error) {
    response.discard()
    throw error
  }
}

/** Yields the bytes of the answer. A value that was cut is not asked for again: the consumer has
 *  got a part. */
async function* chunksOf(
  response: HttpResponse,
  readOn: (received: number) => Promise<unknown>,
): AsyncGenerator<Uint8Array> {
  let received = 0
  try {
    for await (const chunk of response.body) {
      received += chunk.length
      yield chunk
    }
  } catch (cause) {
    if (!isCode(cause, 'EUNKNOWN')) throw cause
    const refusal = await readOn(received).catch((error: unknown) => error)
    if (ofTheValue.some((code) => isCode(refusal, code))) throw refusal
    const message = 'the connection was lost in the middle of the value; read on from that byte'
    throw new TailraceError('ECLOSED', message, { cause })
  }
}
