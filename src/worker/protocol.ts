/** The messages between a scheduler and a worker. See rfc/25, rules 8 and 9.
 *  Invariant: what comes in is parsed here, once; what does not fit is EIO, and ends the link. */

import {
  bytes,
  check,
  count,
  flag,
  list,
  number,
  object,
  oneOf,
  type Shape,
  shapeOf,
  text,
} from '../base/shape.js'
import { reasonOf, TailraceError } from '../error.js'
import { type Stream, streams } from '../eventlog/stdio.js'
import type { CallTimes, PackedTask } from '../flow/caller.js'
import type { Envelope } from './batches.js'
import { type SentError, sentErrorShape } from './sent-error.js'

/** The largest size of the plans of a target that stand in the body of a call, in bytes. */
const inlinePlansMax = 8 * 1024
const noPlans = new Uint8Array()

/** A message to a worker. */
export type ToWorker =
  /** Call a function. `keys`: those of the inputs that come with it, in the order of the parts; `drop`:
   *  those of inputs that the worker need not keep any more, once it has taken those of the call. Plans
   *  above `inlinePlansMax` are one part more. */
  | {
      readonly type: 'call'
      readonly seq: number
      readonly task: PackedTask
      readonly keys: readonly string[]
      readonly drop: readonly string[]
    }
  /** Abort the signal of a call, for a reason. */
  | { readonly type: 'abort'; readonly seq: number; readonly reason: SentError }
  /** End, once all calls have ended. */
  | { readonly type: 'leave' }

/** A message of a worker. */
export type FromWorker =
  /** It has imported the modules. `code`: a hash of all that its targets are made of, if it was asked. */
  | { readonly type: 'ready'; readonly code?: string }
  /** It cannot work. */
  | { readonly type: 'unfit'; readonly error: SentError }
  /** A function has returned. The packed result is the one part. */
  | { readonly type: 'done'; readonly seq: number; readonly times: CallTimes }
  | { readonly type: 'failed'; readonly seq: number; readonly error: SentError }
  /** A function has printed. The bytes are the one part. */
  | { readonly type: 'printed'; readonly seq: number; readonly stream: Stream }
  /** It has no target whose code is that of the run: nothing was called. */
  | { readonly type: 'refused'; readonly seq: number; readonly error: SentError }
  /** It takes no more calls, and ends when it has answered those that it has begun. */
  | { readonly type: 'leaving' }

type TypeShapes<M extends { readonly type: string }> = { readonly [type in M['type']]: Shape }
type ToCall = Extract<ToWorker, { type: 'call' }>
type ToAbort = Extract<ToWorker, { type: 'abort' }>
type Done = Extract<FromWorker, { type: 'done' }>
type Failed = Extract<FromWorker, { type: 'failed' }>
type Refused = Extract<FromWorker, { type: 'refused' }>
type Ready = Extract<FromWorker, { type: 'ready' }>
type Unfit = Extract<FromWorker, { type: 'unfit' }>
type Printed = Extract<FromWorker, { type: 'printed' }>

const taskShape = shapeOf<PackedTask>(
  {
    ...{ target: text, function: text, module: text, plans: bytes },
    ...{ packed: list, inputs: list, elements: list, keepsOutput: flag },
  },
  ['target', 'function', 'module', 'plans', 'keepsOutput', 'packed', 'inputs', 'elements'],
)
const timesShape = shapeOf<CallTimes>({ unpackMs: number, runMs: number, packMs: number }, [
  'unpackMs',
  'runMs',
  'packMs',
])
const onlyType = shapeOf<{ readonly type: string }>({ type: text })

const toWorker: TypeShapes<ToWorker> = {
  call: shapeOf<ToCall>({ type: text, seq: count, task: object, keys: list, drop: list }, [
    ...(['seq', 'task', 'keys', 'drop'] as const),
  ]),
  abort: shapeOf<ToAbort>({ type: text, seq: count, reason: object }, ['seq', 'reason']),
  leave: onlyType,
}
const fromWorker: TypeShapes<FromWorker> = {
  ready: shapeOf<Ready>({ type: text, code: text }),
  unfit: shapeOf<Unfit>({ type: text, error: object }, ['error']),
  done: shapeOf<Done>({ type: text, seq: count, times: object }, ['seq', 'times']),
  failed: shapeOf<Failed>({ type: text, seq: count, error: object }, ['seq', 'error']),
  printed: shapeOf<Printed>({ type: text, seq: count, stream: oneOf(...streams) }, [
    ...(['seq', 'stream'] as const),
  ]),
  refused: shapeOf<Refused>({ type: text, seq: count, error: object }, ['seq', 'error']),
  leaving: onlyType,
}

/** Returns a call as it is sent. */
export function callEnvelope<P>(call: ToCall, inputs: readonly P[]): Envelope<P | Uint8Array> {
  const { task } = call
  if (task.plans.length <= inlinePlansMax) return { body: call, parts: inputs }
  return { body: { ...call, task: { ...task, plans: noPlans } }, parts: [...inputs, task.plans] }
}

/** Returns the message to a worker in a body. Throws EIO. */
export function parseToWorker(envelope: Envelope<unknown>): ToWorker {
  const message = parse<ToWorker>(envelope.body, toWorker)
  if (message.type === 'call') {
    const { task, keys } = message
    checkPart('task', task, taskShape)
    const { [keys.length]: plans, length } = envelope.parts
    if (length === keys.length) return message
    if (length !== keys.length + 1 || !bytes.is(plans)) throw unread('it lacks inputs')
    return { ...message, task: { ...task, plans: plans as Uint8Array } }
  }
  if (message.type === 'abort') checkPart('reason', message.reason, sentErrorShape)
  return message
}

/** Returns the message of a worker in a body. Throws EIO. */
export function parseFromWorker(envelope: Envelope<unknown>): FromWorker {
  const message = parse<FromWorker>(envelope.body, fromWorker)
  if (message.type === 'done') {
    checkPart('times', message.times, timesShape)
    if (envelope.parts.length !== 1) throw unread('it has no result')
  } else if (message.type === 'printed') {
    if (envelope.parts.length !== 1) throw unread('it has no output')
  } else if ('error' in message) checkPart('error', message.error, sentErrorShape)
  return message
}

function parse<M extends { readonly type: string }>(body: unknown, shapes: TypeShapes<M>): M {
  const named = typeof body === 'object' && body !== null && 'type' in body ? body.type : undefined
  const shape = Object.entries<Shape>(shapes).find(([type]) => type === named)?.[1]
  if (!shape) throw unread(`its type is ${String(named)}`)
  checkPart('message', body, shape)
  return body as M
}

function checkPart(what: string, value: unknown, shape: Shape): void {
  try {
    check(what, value, shape)
  } catch (error) {
    throw unread(reasonOf(error))
  }
}

function unread(why: string): TailraceError {
  return new TailraceError('EIO', `a message between a worker and its scheduler: ${why}`)
}
