/** The frames of the websocket `/v1/ws`, both ways. See rfc/12. Subprotocols: `tailrace.v1` (one
 *  msgpack map per binary message) and `tailrace.v1.json` (one JSON object per text message; bytes
 *  are {"base64": "…"}).
 *  Invariant: a frame of a kind that a peer does not know is answered with EINVAL, not dropped. */

import type { Token } from '../api/transaction.js'
import type { From, Position } from '../api/watch.js'
import type { Code } from '../error.js'

export const subprotocol = 'tailrace.v1'
export const subprotocolJson = 'tailrace.v1.json'

/** Bytes of one frame from the client. */
export const frameSizeMax = 16 * 1024 * 1024
/** Watches of one connection. Above: EBUSY. */
export const watchesMax = 10_000
/** Credit of one watch (bytes), at first and at most; more is cut to it. */
export const creditDefault = 4 * 1024 * 1024
export const creditMax = 64 * 1024 * 1024
/** What an `append`, `value` or `lease` frame takes of the credit besides its data's bytes. */
export const frameCost = 64
/** An idle connection hears a ping this often; one that does not answer by the next is closed. */
export const pingMs = 15_000
/** A connection that must send a token has this long. */
export const authMs = 5_000

/** From the client. `id` is the client's, unique while the request is open. */
export type Request =
  | { readonly id: number; readonly op: 'auth'; readonly token: string }
  | {
      readonly id: number
      readonly op: 'watch'
      readonly key: string
      readonly namespace?: string
      readonly mode: 'append' | 'value'
      readonly from?: From
      readonly waitCreate?: boolean
      readonly uniq?: boolean
      readonly lease?: boolean
      /** Bytes that may be sent before `credit` grants more. Default `creditDefault`. */
      readonly credit?: number
    }
  | { readonly id: number; readonly op: 'credit'; readonly bytes: number }
  | { readonly id: number; readonly op: 'cancel' }
  /** `body` is that of POST /v1/txn, POST /v1/read, … ; the answer is a `result` or an `error`. */
  | {
      readonly id: number
      readonly op: 'txn' | 'read' | 'root'
      readonly namespace?: string
      readonly body: unknown
      /** Of a `txn`. */
      readonly idempotencyKey?: string
    }

/** From the server. An `error` or an `end` is the last frame of its id. */
export type Response =
  | {
      readonly id: number
      readonly type: 'append'
      readonly index: number
      readonly offset: number
      readonly seq: number
      readonly position: Position
      readonly more?: true
      /** Last in the frame, so that the bytes may follow the head without a copy. */
      readonly data: Uint8Array
    }
  | {
      readonly id: number
      readonly type: 'value'
      readonly seq: number
      readonly ref: string
      readonly size: number
      readonly skipped?: true
      readonly data?: Uint8Array
    }
  | {
      readonly id: number
      readonly type: 'lease'
      readonly seq: number
      readonly held: boolean
      readonly token?: Token
      readonly owner?: string
    }
  | { readonly id: number; readonly type: 'live'; readonly position?: Position }
  | {
      readonly id: number
      readonly type: 'end'
      /** sealed: all was delivered. canceled: answer to `cancel`. */
      readonly reason: 'sealed' | 'canceled'
      readonly position?: Position
    }
  | { readonly id: number; readonly type: 'result'; readonly body: unknown }
  | ({ readonly id: number; readonly type: 'error' } & ErrorBody)

/** The envelope of every error: over HTTP it is `{error: ErrorBody}`. */
export type ErrorBody = {
  readonly code: Code
  readonly message: string
  /** A refused transaction: which op or guard, and the state that it met. */
  readonly failed?: { readonly guard?: number; readonly op?: number; readonly state?: unknown }
}
