/** How a client reaches a server. See rfc/12. */

/** How long a client waits between two tries: twice as long each time, with jitter. */
export type Backoff = {
  /** Before the first retry at most this, at least half of it. */
  readonly minMs: number
  /** Never more than this. */
  readonly maxMs: number
}

/** Default of `ConnectOptions.timeoutMs`. */
export const timeoutMsDefault = 30_000

/** How a client speaks to a server. */
export type ConnectOptions = {
  /** The server's token, which it wants over TCP, as `tailrace token` prints it where the server runs. */
  readonly token?: string
  /** The store that must answer (else EMISCONFIGURED). If it is given, `connect` asks nothing: it is
   *  checked with the first request, and again after each lost connection. */
  readonly storeId?: string
  /** Watches and waits come back after a lost connection, for as long as it takes (default); false: they
   *  end with ECLOSED. That is the default of `connect` without a target, since nobody starts another server meanwhile.
   *  A `Backoff` says within which bounds it waits between tries. */
  readonly reconnect?: boolean | Backoff
  /** A request is given up when nothing moves for so long though it is the server's turn: ETIMEDOUT, and EUNKNOWN
   *  for a write that the server has. `connect` takes at most so long. A stream may last for as long as its bytes
   *  move; what waits (`jobs.wait`, `waitSeq`, `minSeq`, a watch, a collection) waits. Default 30,000 (`timeoutMsDefault`). */
  readonly timeoutMs?: number
  /** Bytes that a watch may hold for its consumer, 1 to 64 MiB (`creditMax`). Default 4 MiB (`creditDefault`). */
  readonly credit?: number
  /** Ends the call of `connect`; what it gave goes on. */
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
