/** How a client reaches a server. See rfc/12. */

export type Backoff = {
  /** Before the first retry at most this, at least half of it. */
  readonly minMs: number
  /** Never more than this. */
  readonly maxMs: number
}

/** See `ConnectOptions.timeoutMs`. */
export const timeoutMsDefault = 30_000

/** Dispose of what `connect` gives: it ends what is on its way. A program that forgets to is not held by it, but for
 *  2 s after its last watch. */
export type ConnectOptions = {
  /** Over TCP: the server's token, as `tailrace token` prints it where the server runs. */
  readonly token?: string
  /** The store that must answer (else EMISCONFIGURED). If it is given, `connect` asks nothing: it is
   *  checked with the first request, and again after each lost connection. */
  readonly storeId?: string
  /** Watches and waits come back after a lost connection, for as long as it takes (default); false: they
   *  end with ECLOSED. Or within which bounds it waits between tries. */
  readonly reconnect?: boolean | Backoff
  /** A request is given up when nothing moves for so long though it is the server's turn: ETIMEDOUT, and EUNKNOWN
   *  for a write that the server has. `connect` takes at most so long. A stream may last for as long as its bytes
   *  move; what waits (`jobs.wait`, `waitSeq`, `minSeq`, a watch, a collection) waits. Default 30,000 (`timeoutMsDefault`). */
  readonly timeoutMs?: number
  /** Bytes that a watch may hold for its consumer, 1 to 64 MiB (`creditMax`). Default 4 MiB (`creditDefault`). */
  readonly credit?: number
  /** Of `connect` alone. */
  readonly signal?: AbortSignal
}

/** Whether the server answers, as far as this client has seen. */
export interface ConnectionState {
  readonly online: boolean
  /** When it became so, ms since 1970. */
  readonly since: number
  /** The state now, then each change, until the signal aborts or the client is closed. Who reads slowly sees the
   *  newest state. */
  changes(
    signal?: AbortSignal,
  ): AsyncGenerator<{ readonly online: boolean; readonly since: number }, void, undefined>
}
