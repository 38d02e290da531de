/** The answer to a streamed read: its Stat from the header, its bytes as they come. See rfc/12.
 *  Invariant: a stream that was cut never looks whole, and what is damaged is not called a lost connection. */

import type { Reading, Stat } from '../api/kvs.js'
import { isCode, TailraceError } from '../error.js'
import { stat as statShape } from '../wire/keys.js'
import { parse } from '../wire/schema.js'
import { decodeJsonText, readAnswer } from './answer.js'
import type { HttpResponse } from './transport.js'

/** What a value can have, and a connection cannot. */
const ofTheValue = ['ECORRUPT', 'EDANGLING', 'EIO'] as const

/** Asks for the byte that did not come, so that the server can say what it could not say in the middle of a
 *  value. Throws as a read. */
type ReadOn = (stat: Stat, received: number) => Promise<unknown>

/** Throws EIO. Its `chunks` hold a connection until they are iterated, or the client is disposed. */
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

/** Not asked again: the consumer has had a part of it. */
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
