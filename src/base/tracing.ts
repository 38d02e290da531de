/** Spans of OpenTelemetry: a trace that a program has begun goes on through client, server and watchers. The
 *  only import of its API. See rfc/29, rules 14 to 16.
 *  Invariant: no trace begins here. Without an SDK in the process nothing is recorded, but a trace is passed
 *  on. */

import {
  type Context,
  context,
  isSpanContextValid,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import { toTailraceError } from '../error.js'

/** The name of the library in spans. */
const library = 'tailrace'

/** A place in a trace, as the header `traceparent` has it (W3C Trace Context): the ids of the trace and of a
 *  span, and flags. */
export type TraceParent = string

const parentForm = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/

/** A span that has begun. */
export class OpenSpan {
  readonly #span: Span

  constructor(span: Span) {
    this.#span = span
  }

  /** The place of the span in its trace. */
  get parent(): TraceParent {
    return parentOf(this.#span)
  }

  /** Runs work with the span as the active one, and ends it. Throws what the work throws. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await context.with(trace.setSpan(context.active(), this.#span), work)
    } catch (error) {
      this.#fail(error)
      throw error
    } finally {
      this.#span.end()
    }
  }

  #fail(thrown: unknown): void {
    const { code, message } = toTailraceError(thrown)
    this.#span.setAttribute('error.type', code)
    this.#span.setStatus({ code: SpanStatusCode.ERROR, message })
  }
}

/** Returns the place of the active span; undefined if there is none. */
export function activeParent(): TraceParent | undefined {
  const span = trace.getActiveSpan()
  return span && isSpanContextValid(span.spanContext()) ? parentOf(span) : undefined
}

/** Begins the span of a request that this process sends, below the active span. Undefined if there is
 *  none. */
export function sentSpan(name: string): OpenSpan | undefined {
  if (activeParent() === undefined) return undefined
  return new OpenSpan(spanOf(name, SpanKind.CLIENT, context.active()))
}

/** Begins the span of a request that this process serves, below the one that the request names. Undefined if
 *  it names none, or one that is not well formed. */
export function servedSpan(name: string, parent: string | undefined): OpenSpan | undefined {
  const below = contextOf(parent)
  return below && new OpenSpan(spanOf(name, SpanKind.SERVER, below))
}

/** Records that an event of a watch was sent (`PRODUCER`) or has come (`CONSUMER`), and returns the place of
 *  that span. `parent`: the place of the write, or of the sending. REQUIRES: it is well formed, or else it is
 *  returned as it is. */
export function eventSpan(
  kind: 'PRODUCER' | 'CONSUMER',
  name: string,
  parent: TraceParent,
): TraceParent {
  const below = contextOf(parent)
  if (!below) return parent
  const span = spanOf(name, SpanKind[kind], below)
  span.end()
  return parentOf(span)
}

function spanOf(name: string, kind: SpanKind, below: Context): Span {
  return trace.getTracer(library).startSpan(`tailrace ${name}`, { kind }, below)
}

function contextOf(parent: string | undefined): Context | undefined {
  const [, traceId, spanId, flags] = (parent && parentForm.exec(parent)) || []
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined
  const place = { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true }
  return isSpanContextValid(place) ? trace.setSpanContext(ROOT_CONTEXT, place) : undefined
}

function parentOf(span: Span): TraceParent {
  const { traceId, spanId, traceFlags } = span.spanContext()
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`
}
