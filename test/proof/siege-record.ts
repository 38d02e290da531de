/** What the processes of a siege tell each other. See siege.ts. */

export type HostileOrder = {
  readonly kinds: readonly string[]
  /** Of 1: the lanes of each kind. Default: 1. */
  readonly share?: number
}

/** Sent at the end of a phase; what was measured since the last one is the answer. */
export type HonestOrder = { readonly end: 'phase' | 'siege' }

export type HonestReport = {
  /** How long each call took, ms, by its name. One that was still open counts with its age. */
  readonly samples: Readonly<Record<string, readonly number[]>>
  /** Errors, and deliveries that were wrong. */
  readonly problems: readonly string[]
}

/** Calls whose time is that of a disk or of a process: they are shown, and no gate is about them. */
export const bulkCalls: ReadonlySet<string> = new Set(['stream put', 'stream get', 'job'])
