/** The options of a client's connection to a server. See rfc/12. */

/** The bounds of the wait between two tries to connect. The wait is doubled each time, with
 *  jitter. */
export type Backoff = {
  /** The longest wait before the first retry, in ms; it is at least half of this. */
  readonly minMs: number
  /** The longest wait before any retry, in ms. */
  readonly maxMs: number
}

/** The default of `ConnectOptions.timeoutMs`. */
export const timeoutMsDefault = 30_000

/** The options of `connect`. */
export type ConnectOptions = {
  /** The server's token, which it demands over TCP. `tailrace token` prints it on the
   *  machine of the server. */
  readonly token?: string
  /** The certificates, in PEM, of those who may vouch for a server at `https://`. As in Node, they are in
   *  the place of the ones that Node trusts by itself (NODE_EXTRA_CA_CERTS adds to those). A browser
   *  has its own: there it is EINVAL, and so it is for an address without TLS. */
  readonly ca?: string | Uint8Array
  /** The id of the store that must answer; another one is EMISCONFIGURED. With this option
   *  `connect` sends nothing: the id is checked with the first request, and again after each
   *  lost connection. */
  readonly storeId?: string
  /** True (the default): watches and waits go on after a lost connection, for as long as it takes
   *  to connect again. False: they end with ECLOSED. False is the default of `connect` without a
   *  target, since nobody starts another server then. A `Backoff` bounds the waits between
   *  tries. */
  readonly reconnect?: boolean | Backoff
  /** The longest silence, in ms, while a request waits for the server: then it ends with ETIMEDOUT,
   *  or EUNKNOWN for a write that the server may have done. `connect` as a whole takes at most that
   *  long. A stream may last as long as its bytes move. Calls that wait for an event (`jobs.wait`,
   *  `waitSeq`, `minSeq`, a watch, a collection) have no limit. Default 30,000
   *  (`timeoutMsDefault`). */
  readonly timeoutMs?: number
  /** The way of small requests. `socket` (the default): from the second one on they share one
   *  websocket, many at once, and un-awaited writes land in the order of their calls. `http`: each
   *  is a request of its own, and may overtake others. Values above 256 KiB and streams go over HTTP
   *  always. */
  readonly requests?: 'socket' | 'http'
  /** The bytes that a watch may hold for its consumer, 1 to 64 MiB (`creditMax`). Default 4 MiB
   *  (`creditDefault`). */
  readonly credit?: number
  /** Ends the call of `connect`; the store that it gave goes on. */
  readonly signal?: AbortSignal
}

/** The state of the connection, as this client has seen it. */
export interface ConnectionState {
  /** True while the server answers. */
  readonly online: boolean
  /** The time of the last change of `online`, ms since 1970. */
  readonly since: number
  /** Yields the state now, then each change, until the signal aborts or the client is closed. A
   *  slow consumer misses changes in between, and sees the newest state. */
  changes(
    signal?: AbortSignal,
  ): AsyncGenerator<{ readonly online: boolean; readonly since: number }, void, undefined>
}
