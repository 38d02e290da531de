/** Decisions about calls that were sent ahead: whether a worker begins one, or somebody takes it back.
 *  See rfc/25, rule 12.
 *  Invariant: of the two who decide about a call, in different threads, one wins, even while the other
 *  one is blocked. The memory has a place for each call that is not answered. */

/** The most calls that a worker has at the same time: a power of 2. */
export const decisionsMax = 1024
/** The largest number of a call: a worker has answered as many before it is replaced. */
export const seqMax = 2 ** 30

/** Returns memory for decisions, which threads share. */
export function newDecisions(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4 * decisionsMax))
}

/** Decides about a call, by its number from 1 on. Returns false if that was decided before. */
export function decide(decisions: Int32Array, seq: number, what: 'begin' | 'take'): boolean {
  const at = seq % decisionsMax
  const before = Atomics.load(decisions, at)
  if (before >>> 1 === seq) return false
  const decided = seq * 2 + (what === 'begin' ? 1 : 0)
  return Atomics.compareExchange(decisions, at, before, decided) === before
}
