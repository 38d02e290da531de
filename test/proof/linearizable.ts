/** Is a history of one object linearizable? The search of Wing and Gong as Lowe runs it, event by event
 *  ("Testing for linearizability", 2017): a configuration is a state and which of the open operations
 *  have taken effect in it; a return keeps those in which the returned operation has. Memoised, and
 *  bounded by `configurationsMax`.
 *  Invariant: an operation takes effect at one moment between its start and its end; one whose outcome
 *  is unknown at one such moment or never. One that failed is not in the history. */

export type Timed<O> = {
  readonly op: O
  /** The same clock for all. */
  readonly start: number
  /** Of an unknown one: when it can no more take effect (Infinity: it always can). */
  readonly end: number
  /** It may have taken effect or not; the model is stepped without what it answered. */
  readonly unknown: boolean
}

export type Model<S, O> = {
  readonly initial: S
  /** The state after the operation, undefined where it could not have answered so. */
  readonly step: (state: S, op: O) => { readonly state: S } | undefined
  /** Equal for equal states. */
  readonly nameOf: (state: S) => string
}

export type Verdict<O> =
  | { readonly linearizable: true }
  /** No order explains the answer of `at` (an operation of the history). */
  | { readonly linearizable: false; readonly at: Timed<O>; readonly states: readonly string[] }

/** Configurations at one event; above it the history is too concurrent to decide, which throws. */
export const configurationsMax = 500_000

type Configuration<S> = { readonly state: S; readonly done: ReadonlySet<number> }

export function checkLinearizable<S, O>(
  model: Model<S, O>,
  history: readonly Timed<O>[],
): Verdict<O> {
  const open = new Set<number>()
  let now = new Map<string, Configuration<S>>()
  keep(now, model, { state: model.initial, done: new Set() })
  for (const { index, returns } of eventsOf(history)) {
    if (!returns) {
      open.add(index)
      continue
    }
    const operation = history[index]
    if (!operation) continue
    const next = new Map<string, Configuration<S>>()
    for (const found of effects(model, history, open, now, index)) {
      const done = new Set(found.done)
      done.delete(index)
      keep(next, model, { state: found.state, done })
    }
    open.delete(index)
    if (next.size === 0) {
      const states = [...new Set([...now.values()].map(({ state }) => model.nameOf(state)))]
      return { linearizable: false, at: operation, states }
    }
    now = next
  }
  return { linearizable: true }
}

/** Every configuration that leads on from `now` when `index` returns: it has taken effect, as the last
 *  where it had not before; where it is unknown, those in which it never does as well. */
function* effects<S, O>(
  model: Model<S, O>,
  history: readonly Timed<O>[],
  open: ReadonlySet<number>,
  now: ReadonlyMap<string, Configuration<S>>,
  index: number,
): Iterable<Configuration<S>> {
  const seen = new Map<string, Configuration<S>>()
  const waiting: Configuration<S>[] = []
  for (const configuration of now.values()) {
    if (configuration.done.has(index)) {
      yield configuration
      continue
    }
    if (history[index]?.unknown) yield configuration
    keep(seen, model, configuration)
    waiting.push(configuration)
  }
  for (let from = waiting.pop(); from; from = waiting.pop()) {
    for (const each of open) {
      const operation = history[each]
      if (!operation || from.done.has(each)) continue
      const stepped = model.step(from.state, operation.op)
      if (!stepped) continue
      const to = { state: stepped.state, done: new Set(from.done).add(each) }
      if (each === index) yield to
      else if (keep(seen, model, to)) waiting.push(to)
    }
  }
}

/** Whether it was new. */
function keep<S, O>(
  into: Map<string, Configuration<S>>,
  model: Model<S, O>,
  configuration: Configuration<S>,
): boolean {
  const done = [...configuration.done].sort((a, b) => a - b).join()
  const name = `${done}|${model.nameOf(configuration.state)}`
  if (into.has(name)) return false
  if (into.size >= configurationsMax) {
    throw new Error(`more than ${configurationsMax} configurations: fewer clients to a key`)
  }
  into.set(name, configuration)
  return true
}

/** Starts before ends where the clock cannot tell them apart: they may have overlapped. */
function eventsOf<O>(history: readonly Timed<O>[]) {
  const events = history.flatMap(({ start, end }, index) => [
    { index, time: start, returns: false },
    ...(end === Number.POSITIVE_INFINITY ? [] : [{ index, time: end, returns: true }]),
  ])
  return events.sort((a, b) => a.time - b.time || Number(a.returns) - Number(b.returns))
}
