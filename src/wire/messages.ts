/** Frames as messages of a websocket, in both subprotocols. See rfc/12, rule 10. For servers: a client that speaks
 *  msgpack alone needs `framing.ts` only. */

import { parseJson } from '../base/json.js'
import { toJson } from './bytes.js'
import {
  type RequestFrame,
  type ResponseFrame,
  subprotocol,
  type subprotocolJson,
} from './frames.js'
import { packFrame, unpackFrame } from './framing.js'

/** Text for JSON, bytes for msgpack. */
export type Message = string | Uint8Array
export type Subprotocol = typeof subprotocol | typeof subprotocolJson

/** One message. Fields that are undefined are left out. */
export function encodeMessage(frame: RequestFrame | ResponseFrame, protocol: Subprotocol): Message {
  return protocol === subprotocol ? packFrame(frame) : JSON.stringify(toJson(frame))
}

/** A message's frame, not yet checked: `{base64}` becomes bytes where a schema says bytes, and nowhere else. Throws
 *  EINVAL. */
export function decodeMessage(message: Message): unknown {
  if (typeof message === 'string') return parseJson(message, 'a frame')
  return unpackFrame(message)
}
