/** Encodes frames as messages of a websocket, in both subprotocols. See rfc/12, rule 10. Used by
 *  servers: a client that speaks only msgpack needs only `framing.ts`. */

import { parseJson } from '../base/json.js'
import { toJson } from './bytes.js'
import {
  type RequestFrame,
  type ResponseFrame,
  subprotocol,
  type subprotocolJson,
} from './frames.js'
import { packFrame, unpackFrame } from './framing.js'

/** A message: text is JSON, bytes are msgpack. */
export type Message = string | Uint8Array
/** The name of a subprotocol. */
export type Subprotocol = typeof subprotocol | typeof subprotocolJson

/** Encodes a frame as one message. Fields that are undefined are left out. */
export function encodeMessage(frame: RequestFrame | ResponseFrame, protocol: Subprotocol): Message {
  return protocol === subprotocol ? packFrame(frame) : JSON.stringify(toJson(frame))
}

/** Decodes a message. The frame is not checked yet: give it to `parseRequest` or `parseResponse`,
 *  whose schemas also turn `{base64}` into bytes. Throws EINVAL. */
export function decodeMessage(message: Message): unknown {
  if (typeof message === 'string') return parseJson(message, 'a frame')
  return unpackFrame(message)
}
