/** The seed of a proof that runs at random: another one each time, or `TAILRACE_PROOF_SEED`. A failure
 *  names it, so that it can be run again. */

export function proofSeed(): number {
  return Number(process.env['TAILRACE_PROOF_SEED'] ?? Math.floor(Math.random() * 1_000_000))
}

/** For the message of an expectation. */
export function withSeed(seed: number): string {
  return `run again with TAILRACE_PROOF_SEED=${seed}`
}
