/** Traces of a program that go on through its requests. Node has them (`node.ts`), browsers have none. See
 *  rfc/29, rule 14. */

/** A span of a request, until its work has ended. */
type SentSpan = {
  /** Its place in the trace (W3C `traceparent`). */
  readonly parent: string
  readonly during: <T>(work: () => Promise<T>) => Promise<T>
}

/** The traces of this program. */
export type ClientTracing = {
  /** Begins the span of a request, below the active span. Undefined if there is none. */
  readonly sent: (name: string) => SentSpan | undefined
  /** Returns the place of the active span. Undefined if there is none. */
  readonly active: () => string | undefined
  /** Records that an event has come, and returns the place of that in the trace. */
  readonly received: (trace: string) => string
}
