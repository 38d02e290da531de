/** The frames of the websocket `/v1/ws`, in both directions. See rfc/12, rules 10 to 15.
 *  Subprotocols: `tailrace.v1` (one msgpack map per binary message) and `tailrace.v1.json` (one
 *  JSON object per text message; bytes are {"base64": "…"}).
 *  Invariant: a request of an unknown kind is answered with EINVAL; it is never dropped. */

import type { DiffEntry } from '../api/history.js'
import type { Token } from '../api/transaction.js'
import type { ChangesEvent, ChangesPosition, From, Position } from '../api/watch.js'
import type { Blobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import { diffEntry } from './history.js'
import {
  answered,
  anything,
  arrayOf,
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

/** The subprotocol whose messages are msgpack. */
export const subprotocol = 'tailrace.v1'
/** The subprotocol whose messages are JSON. */
export const subprotocolJson = 'tailrace.v1.json'

/** The largest frame that either end takes, in bytes. A larger one closes the connection. */
export const frameSizeMax = 16 * 1024 * 1024
/** The credit of a new watch that asks for none, in bytes. */
export const creditDefault = 4 * 1024 * 1024
/** The largest credit of a watch, in bytes. A larger grant is cut to it. */
export const creditMax = 64 * 1024 * 1024
/** The credit that an `append`, `value` or `lease` frame takes besides the size of its data, in
 *  bytes. */
export const frameCost = 64
/** The credit that an entry of a `changes` frame takes, besides the length of its key. */
const changeCost = 256
/** The time between two pings of the server, in ms. It closes a connection that did not answer one
 *  ping by the next. */
export const pingMs = 15_000
/** The time that a client has to send its token in a first frame, in ms. */
export const authMs = 5_000

/** Returns the credit that a `changes` frame takes. */
export function changesCost(entries: readonly DiffEntry[]): number {
  let cost = frameCost
  for (const { key } of entries) cost += key.length + changeCost
  return cost
}

type Control =
  | { readonly id: number; readonly op: 'auth'; readonly token: string }
  | {
      readonly id: number
      readonly op: 'watch'
      readonly key: string
      readonly namespace?: string
      readonly mode: 'append' | 'value' | 'changes'
      readonly from?: From
      readonly waitCreate?: boolean
      readonly uniq?: boolean
      readonly lease?: boolean
      readonly since?: number | ChangesPosition
      readonly initial?: boolean
      /** The first grant of credit, in bytes. Default `creditDefault`. */
      readonly credit?: number
    }
  | { readonly id: number; readonly op: 'credit'; readonly bytes: number }
  | { readonly id: number; readonly op: 'cancel' }

/** A frame that calls a request of `requests.ts` whose body and answer are JSON. It is answered by
 *  a `result` or an `error` frame. */
export type CallFrame = {
  readonly id: number
  /** The name of the request. */
  readonly op: string
  readonly namespace?: string | undefined
  readonly idempotencyKey?: string | undefined
  /** The place of the request in a trace (W3C `traceparent`). */
  readonly trace?: string | undefined
  readonly idempotencySince?: number | undefined
  /** All other arguments: those that HTTP has in the path, in the query or in the body. */
  readonly body?: unknown
}

/** A frame from the client. The client chooses `id`, which is unique while the request is open. */
export type RequestFrame = Control | CallFrame

type ControlOf<Name> = Extract<Control, { readonly op: Name }>
type WatchOf = ControlOf<'watch'>

/** The id of a request, 1 or more. */
const id = integer(1)
/** The position of a watcher, as an answer has it. */
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

const changesFields = {
  incarnation: text,
  seq: optional(count),
  to: optional(count),
  after: optional(text),
  ref: optional(blobref),
}
/** The position of a watcher of changes, as an answer has it. */
const changesPosition = named('ChangesPosition', answered<ChangesPosition>(changesFields))
const changesPositionGiven = asked<ChangesPosition>(changesFields)
const since = converted<number | ChangesPosition>(
  (input) => {
    const isSeq = typeof input === 'number' || typeof input === 'bigint'
    return isSeq ? count.read(input) : changesPositionGiven.read(input)
  },
  { oneOf: [count.json, changesPosition.json] },
)

const controls: { readonly [Name in Control['op']]: Schema<ControlOf<Name>> } = {
  auth: asked<ControlOf<'auth'>>({ id, op: constant('auth'), token: text }),
  watch: checkedBy(
    asked<WatchOf>({
      id,
      op: constant('watch'),
      key: text,
      namespace: optional(text),
      mode: oneOf('append', 'value', 'changes'),
      from: optional(from),
      waitCreate: optional(flag),
      uniq: optional(flag),
      lease: optional(flag),
      since: optional(since),
      initial: optional(flag),
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
  trace: optional(text),
  idempotencySince: optional(count),
  body: optional(anything),
})
const operation = answered<{ readonly op: string }>({ op: text })

/** The values of `op` that control watches and the connection, and so name no request. */
export const controlNames: readonly string[] = Object.keys(controls)

/** Returns true if the frame calls a request, and false for a control frame. */
export function isCallFrame(frame: RequestFrame): frame is CallFrame {
  return !Object.hasOwn(controls, frame.op)
}

/** Parses a frame from a client. Throws EINVAL. The server checks that a request of that name
 *  exists. */
export function parseRequest(input: unknown): RequestFrame {
  const op = opOf(input)
  const schema: Schema<RequestFrame> = Object.hasOwn(controls, op)
    ? controls[op as Control['op']]
    : call
  return parse(schema, input, op)
}

/** Returns the `op` of a frame. Throws EINVAL. */
function opOf(input: unknown): string {
  const op = typeof input === 'object' && input !== null && 'op' in input ? input.op : undefined
  // The schema makes a copy with the one field that it knows, so that it only says what is wrong.
  return typeof op === 'string' ? op : parse(operation, input, 'a frame').op
}

/** Returns the id of a frame that was refused, for the `error` frame that answers it. Returns 0 if
 *  the frame has no valid id. */
export function requestIdOf(input: unknown): number {
  const given = typeof input === 'object' && input !== null && 'id' in input ? input.id : undefined
  return typeof given === 'number' && Number.isSafeInteger(given) && given > 0 ? given : 0
}

/** The fields of a watch that mean nothing in a mode. */
const strangeIn = {
  append: ['uniq', 'lease', 'since', 'initial'],
  value: ['from', 'since', 'initial'],
  changes: ['from', 'uniq', 'lease', 'waitCreate'],
} as const satisfies Readonly<Record<WatchOf['mode'], readonly (keyof WatchOf)[]>>

/** Throws EINVAL for a field that has no meaning in the mode of the watch. */
function checkMode(watch: WatchOf): void {
  const given = strangeIn[watch.mode].find((name) => watch[name] !== undefined)
  if (given === undefined) return
  const message = `watch.${given} means nothing in mode ${watch.mode}`
  throw new TailraceError('EINVAL', message)
}

/** A frame from the server. A `result`, an `error` or an `end` is the last frame of its id. */
export type ResponseFrame =
  | {
      readonly id: number
      readonly type: 'append'
      readonly index: number
      readonly offset: number
      readonly seq: number
      readonly position: Position
      readonly more?: true
      readonly trace?: string
      /** The last field of the frame, so that the bytes can follow the head without a copy. */
      readonly data: Uint8Array
    }
  | {
      readonly id: number
      readonly type: 'value'
      readonly seq: number
      readonly ref: Blobref
      readonly size: number
      readonly skipped?: true
      readonly trace?: string
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
  | ({ readonly id: number } & ChangesEvent)
  | { readonly id: number; readonly type: 'live'; readonly position?: Position }
  | {
      readonly id: number
      readonly type: 'end'
      /** `sealed`: the log is sealed, and all of it was delivered. `canceled`: the answer to
       *  `cancel`. */
      readonly reason: 'sealed' | 'canceled'
      readonly position?: Position
    }
  | { readonly id: number; readonly type: 'result'; readonly body: unknown }
  | ({ readonly id: number; readonly type: 'error' } & ErrorBody)

type ResponseOf<Type> = Extract<ResponseFrame, { readonly type: Type }>
/** The id of the request that is answered; 0 for a frame that answers none. */
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
    trace: optional(text),
    data: bytes,
  }),
  value: answered<ResponseOf<'value'>>({
    id: answerId,
    type: constant('value'),
    seq: count,
    ref: blobref,
    size: count,
    skipped: optional(constant(true)),
    trace: optional(text),
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
  changes: answered<ResponseOf<'changes'>>({
    id: answerId,
    type: constant('changes'),
    from: optional(count),
    seq: count,
    entries: arrayOf(diffEntry),
    more: optional(constant(true)),
    position: changesPosition,
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
  // parseErrorBody() reads the other fields. It turns an error that cannot be read into EIO.
  error: answered<{ readonly id: number; readonly type: 'error'; readonly message: string }>({
    id: answerId,
    type: constant('error'),
    message: text,
  }),
})

/** Parses a frame from a server. Throws EINVAL if the server sent something else. */
export function parseResponse(input: unknown): ResponseFrame {
  const frame = parse(response, input, 'frame')
  if (frame.type !== 'error') return frame
  return { id: frame.id, type: 'error', ...errorBodyOf(parseErrorBody(input)) }
}
