/** The answer to a streamed read: its Stat from the header, its bytes as they come. See rfc/12.
 *  Invariant: a stream that was cut never looks whole. */

import { isCode, TailraceError } from '../error.js'
import type { Reading } from '../kvs/kvs.js'
import { parseStat, readAnswer } from '../wire/answers.js'
import { decodeJsonText } from './http.js'
import type { HttpResponse } from './transport.js'

/** Throws EIO. Its `chunks` hold a connection until they are iterated, or the client is disposed. */
export function readingOf(response: HttpResponse): Reading {
  try {
    const stat = readAnswer(decodeJsonText(response.header('tailrace-stat')), parseStat)
    return { stat, chunks: chunksOf(response) }
  } catch (error) {
    response.discard()
    throw error
  }
}

/** Not asked again: the consumer has had a part of it. */
async function* chunksOf(response: HttpResponse): AsyncGenerator<Uint8Array> {
  try {
    yield* response.body
  } catch (cause) {
    if (!isCode(cause, 'EUNKNOWN')) throw cause
    const message = 'the connection was lost in the middle of the value; read on from that byte'
    throw new TailraceError('ECLOSED', message, { cause })
  }
}
