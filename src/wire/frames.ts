/** The frames of the websocket `/v1/ws`, both ways. See rfc/12. Subprotocols: `tailrace.v1` (one
 *  msgpack map per binary message) and `tailrace.v1.json` (one JSON object per text message; bytes
 *  are {"base64": "…"}).
 *  Invariant: a frame of a kind that a peer does not know is answered with EINVAL, not dropped. */

import type { Token } from '../api/transaction.js'
import type { From, Position } from '../api/watch.js'
import type { Blobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import {
  answered,
  anything,
  asked,
  blobref,
  bytes,
  checkedBy,
  constant,
  converted,
  count,
  flag,
  integer,
  named,
  oneOf,
  optional,
  parse,
  type Schema,
  text,
  variantOf,
} from './schema.js'
import { type ErrorBody, errorBodyOf, parseErrorBody } from './status.js'
import { tokenGiven } from './transaction.js'

export const subprotocol = 'tailrace.v1'
export const subprotocolJson = 'tailrace.v1.json'

/** Bytes of one frame from the client. */
export const frameSizeMax = 16 * 1024 * 1024
/** Credit of one watch (bytes), at first and at most; more is cut to it. */
export const creditDefault = 4 * 1024 * 1024
export const creditMax = 64 * 1024 * 1024
/** What an `append`, `value` or `lease` frame takes of the credit besides its data's bytes. */
export const frameCost = 64
/** An idle connection hears a ping this often; one that does not answer by the next is closed. */
export const pingMs = 15_000
/** A connection that must send a token has this long. */
export const authMs = 5_000

type Control =
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

/** A request of `requests.ts` whose body and answer are JSON; the answer is a `result` or an `error`. */
export type CallFrame = {
  readonly id: number
  /** Its name. */
  readonly op: string
  readonly namespace?: string
  readonly idempotencyKey?: string
  /** All other arguments, whether HTTP has them in the path, in the query or in the body. */
  readonly body?: unknown
}

/** From the client. `id` is the client's, unique while the request is open. */
export type RequestFrame = Control | CallFrame

type ControlOf<Name> = Extract<Control, { readonly op: Name }>
type WatchOf = ControlOf<'watch'>

/** Ids of requests count from 1. */
const id = integer(1)
export const position = named(
  'Position',
  answered<Position>({ incarnation: text, index: count, prefix: blobref }),
)
const offset = asked<{ readonly offset: number }>({ offset: count })
const positionGiven = asked<Position>({ incarnation: text, index: count, prefix: blobref })
const index = integer(Number.MIN_SAFE_INTEGER)
const from = converted<From>(
  (input) => {
    if (typeof input === 'number' || typeof input === 'bigint') return index.read(input)
    const isOffset = typeof input === 'object' && input !== null && 'offset' in input
    return isOffset ? offset.read(input) : positionGiven.read(input)
  },
  { oneOf: [index, offset, position].map(({ json }) => json) },
)

const controls: { readonly [Name in Control['op']]: Schema<ControlOf<Name>> } = {
  auth: asked<ControlOf<'auth'>>({ id, op: constant('auth'), token: text }),
  watch: checkedBy(
    asked<WatchOf>({
      id,
      op: constant('watch'),
      key: text,
      namespace: optional(text),
      mode: oneOf('append', 'value'),
      from: optional(from),
      waitCreate: optional(flag),
      uniq: optional(flag),
      lease: optional(flag),
      credit: optional(count),
    }),
    checkMode,
  ),
  credit: asked<ControlOf<'credit'>>({ id, op: constant('credit'), bytes: count }),
  cancel: asked<ControlOf<'cancel'>>({ id, op: constant('cancel') }),
}
const call = asked<CallFrame>({
  id,
  op: text,
  namespace: optional(text),
  idempotencyKey: optional(text),
  body: optional(anything),
})
const operation = answered<{ readonly op: string }>({ op: text })

/** Names that are no requests. */
export const controlNames: readonly string[] = Object.keys(controls)

export function isCallFrame(frame: RequestFrame): frame is CallFrame {
  return !Object.hasOwn(controls, frame.op)
}

/** A frame from a client. Throws EINVAL. Whether there is a request of that name is the server's to know. */
export function parseRequest(input: unknown): RequestFrame {
  const { op } = parse(operation, input, 'a frame')
  const schema: Schema<RequestFrame> = Object.hasOwn(controls, op)
    ? controls[op as Control['op']]
    : call
  return parse(schema, input, op)
}

/** The id of a frame, to answer it though it could not be read: 0 where it has none. */
export function requestIdOf(input: unknown): number {
  const given = typeof input === 'object' && input !== null && 'id' in input ? input.id : undefined
  return typeof given === 'number' && Number.isSafeInteger(given) && given > 0 ? given : 0
}

/** Refuses fields that mean nothing in the mode. Throws EINVAL. */
function checkMode(watch: WatchOf): void {
  const strange = watch.mode === 'value' ? (['from'] as const) : (['uniq', 'lease'] as const)
  const given = strange.find((name) => watch[name] !== undefined)
  if (given === undefined) return
  const message = `watch.${given} means nothing in mode ${watch.mode}`
  throw new TailraceError('EINVAL', message)
}

/** From the server. An `error` or an `end` is the last frame of its id. */
export type ResponseFrame =
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
      readonly ref: Blobref
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

type ResponseOf<Type> = Extract<ResponseFrame, { readonly type: Type }>
/** Frames that stand for no request have the id 0. */
const answerId = count
const response = variantOf<ResponseFrame>('type', {
  append: answered<ResponseOf<'append'>>({
    id: answerId,
    type: constant('append'),
    index: count,
    offset: count,
    seq: count,
    position,
    more: optional(constant(true)),
    data: bytes,
  }),
  value: answered<ResponseOf<'value'>>({
    id: answerId,
    type: constant('value'),
    seq: count,
    ref: blobref,
    size: count,
    skipped: optional(constant(true)),
    data: optional(bytes),
  }),
  lease: answered<ResponseOf<'lease'>>({
    id: answerId,
    type: constant('lease'),
    seq: count,
    held: flag,
    token: optional(tokenGiven),
    owner: optional(text),
  }),
  live: answered<ResponseOf<'live'>>({
    id: answerId,
    type: constant('live'),
    position: optional(position),
  }),
  end: answered<ResponseOf<'end'>>({
    id: answerId,
    type: constant('end'),
    reason: oneOf('sealed', 'canceled'),
    position: optional(position),
  }),
  result: answered<ResponseOf<'result'>>({
    id: answerId,
    type: constant('result'),
    body: optional(anything),
  }),
  // An error that cannot be read says so itself.
  error: answered<{ readonly id: number; readonly type: 'error'; readonly message: string }>({
    id: answerId,
    type: constant('error'),
    message: text,
  }),
})

/** A frame from a server. Throws EINVAL, which is the server's fault. */
export function parseResponse(input: unknown): ResponseFrame {
  const frame = parse(response, input, 'frame')
  if (frame.type !== 'error') return frame
  return { id: frame.id, type: 'error', ...errorBodyOf(parseErrorBody(input)) }
}
