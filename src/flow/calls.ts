/** Calls of the functions of targets, their signals and their time limits. See rfc/24, rules 10 and 30.
 *  Invariant: a call that has ended leaves nothing on the signal of its run, and no timer. Its own signal
 *  is made when somebody asks for it: most never do, and Node would warn of one that all calls listen
 *  to. */

import type { TargetOutput } from '../api/flow.js'
import { onAbort } from '../base/abort.js'
import { bytes, checkValue, either, invalid, oneOf, text } from '../base/shape.js'
import { type Print, type Stream, streams } from '../eventlog/stdio.js'
import { type CallBound, CallLimit } from './call-limit.js'
import type { TargetFunction } from './target.js'

/** The call whose function runs now, until it returns: calls of one process nest, and never overlap. */
const calls: { now: TargetCall | undefined } = { now: undefined }

/** Returns the signal of the call of a target's function: it aborts when the run stops, or is ended by
 *  its own signal, and when the call has lasted for `timeoutMs`. It is to be asked for by the function,
 *  or by what that calls, before the first `await`. Throws EINVAL elsewhere.
 *
 *      const page = target('page', [url], (url) => fetch(url, { signal: targetSignal() }))
 */
export function targetSignal(): AbortSignal {
  if (calls.now) return calls.now.signal
  throw invalid('targetSignal() is for functions of targets, before their first await')
}

/** Returns the output of the call of a target's function: what it writes there, a run with a store keeps, so
 *  that "tailrace flow log" shows it while the call goes on; without a store it goes to the streams of this
 *  process. It is to be asked for before the first `await`, as `targetSignal` is. Throws EINVAL elsewhere.
 *
 *      const trained = target('trained', [rows], async (rows) => {
 *        const output = targetOutput()
 *        return train(rows, (epoch) => output.write(`epoch ${epoch}\n`))
 *      })
 */
export function targetOutput(): TargetOutput {
  const { now } = calls
  if (!now) throw invalid('targetOutput() is for functions of targets, before their first await')
  return {
    write: (data, stream = 'stdout') => {
      checkValue('what is written', data, either(text, bytes))
      checkValue('the stream', stream, oneOf(...streams))
      now.print(stream, typeof data === 'string' ? Buffer.from(data) : data)
    },
  }
}

/** Returns the output of the call whose function runs now, if its run keeps that. REQUIRES: a function of a
 *  target runs, which has not waited. */
export function keptOutput(): TargetOutput | undefined {
  return calls.now?.keepsOutput ? targetOutput() : undefined
}

/** Hears of the files that the program of a call has read, and that are no inputs of its target. */
export type HearReads = (files: readonly string[]) => void

/** Returns the audit of the call whose function runs now, if its run has one. */
export function auditNow(): HearReads | undefined {
  return calls.now?.audit
}

/** One call. Mutable; ended by the driver of its run. */
export class TargetCall {
  readonly #run: AbortSignal
  readonly #limit: CallLimit | undefined
  #own: AbortController | undefined
  #isGivenUp = false
  #print: Print | undefined
  /** Hears of what its program reads, if the run audits that. */
  readonly audit: HearReads | undefined
  #ends: (() => void)[] | undefined

  /** `run`: the signal of the run. Without a bound the call may last for any time. */
  constructor(run: AbortSignal, bound?: CallBound, audit?: HearReads) {
    this.#run = run
    this.audit = audit
    this.#limit = bound && new CallLimit(bound, (late) => this.#own?.abort(late))
  }

  /** Aborts when the run ends early, and when the time of the call is over, while the call goes on. */
  get signal(): AbortSignal {
    return this.#controller().signal
  }

  /** True if the call is to end, since its run ends early or its time is over. */
  get isOver(): boolean {
    return this.#run.aborted || this.#limit?.late !== undefined
  }

  /** True if the target is not to be called again, whatever its retries are. */
  get isGivenUp(): boolean {
    return this.#isGivenUp
  }

  /** Prints. */
  print(stream: Stream, bytes: Uint8Array): void {
    if (this.#print) this.#print(stream, bytes)
    else process[stream].write(bytes)
  }

  /** True if somebody has what it prints. */
  get keepsOutput(): boolean {
    return this.#print !== undefined
  }

  /** Lets `print` have what the call prints. Default: the streams of this process. */
  printTo(print: Print): void {
    this.#print = print
  }

  /** Says that the target is not to be called again. */
  giveUp(): void {
    this.#isGivenUp = true
  }

  /** Makes the signal abort with another one, too. */
  follow(signal: AbortSignal): void {
    const own = this.#controller()
    if (signal.aborted) own.abort(signal.reason)
    this.#ends?.push(onAbort(signal, () => own.abort(signal.reason)))
  }

  /** Says that the function is called now: its time begins. */
  begin(): void {
    this.#limit?.begin()
  }

  /** Says that the function has returned: its time ends. `ms`: the time that it took, if not that since
   *  `begin`. */
  returned(ms?: number): void {
    this.#limit?.returned(ms)
  }

  /** Settles as `act` does, unless the time of the call runs out: then it throws ETIMEDOUT, and what `act`
   *  returns too late is given to `drop`. See `CallLimit`. */
  within<T>(act: () => T | Promise<T>, drop: (value: T) => void = () => {}): T | Promise<T> {
    return this.#limit ? this.#limit.within(act, drop) : act()
  }

  /** Calls a function, for which `targetSignal` gives the signal of this call. */
  run(fn: TargetFunction, values: readonly unknown[]): unknown {
    const outer = calls.now
    calls.now = this
    try {
      return fn(...values)
    } finally {
      calls.now = outer
    }
  }

  /** Ends the call: what happens to the run is nothing to it any more. */
  end(): void {
    this.#limit?.end()
    for (const end of this.#ends ?? []) end()
  }

  #controller(): AbortController {
    if (this.#own) return this.#own
    const own = new AbortController()
    this.#own = own
    this.#ends = []
    if (this.#limit?.late) own.abort(this.#limit.late)
    this.follow(this.#run)
    return own
  }
}
