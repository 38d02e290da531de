/** What the processes of an overload tell each other. See overload.ts. */

/** The namespaces that the load writes to. Honest clients use others. */
export const loadNamespaces: readonly string[] = ['load-0', 'load-1', 'load-2', 'load-3']

export type LoadOrder =
  /** As many writes as are answered, with a fixed number on their way. Answered by a `LoadReport`. */
  | { readonly do: 'measure'; readonly ms: number }
  /** So many writes a second, whatever is answered, until the next order. Not answered. */
  | { readonly do: 'flood'; readonly perSecond: number }
  /** Stops the flood, waits for all answers, and is answered by a `LoadReport`. */
  | { readonly do: 'settle' }
  /** Reads all that was acknowledged, and is answered by a `LoadCheck`. */
  | { readonly do: 'check' }

export type LoadReport = {
  readonly seconds: number
  /** Writes that were due; those that were not sent since a connection took no more; those that were
   *  acknowledged. */
  readonly due: number
  readonly held: number
  readonly acknowledged: number
  /** Refusals by their code. A lost connection counts as one `lost` for each of its writes. */
  readonly refused: Readonly<Record<string, number>>
  /** How long acknowledged writes took, ms. */
  readonly p50: number
  readonly p99: number
  /** Refusals that say too little. */
  readonly problems: readonly string[]
}

export type LoadCheck = {
  /** Acknowledged appends and keys that were read again. */
  readonly appends: number
  readonly keys: number
  readonly problems: readonly string[]
}
