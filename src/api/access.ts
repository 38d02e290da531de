/** Access tokens: what a program or a person may do with a store that a server serves. See
 *  rfc/28. */

/** The time after which an access token expires if its ttl is left out, in ms: 90 days. */
export const accessTokenTtlDefault = 90 * 24 * 3_600_000
/** The shortest ttl of an access token, in ms. */
export const accessTokenTtlMin = 1_000
/** The longest ttl of an access token, in ms: ten years. */
export const accessTokenTtlMax = 10 * 365 * 24 * 3_600_000
/** The largest number of access tokens of a store. */
export const accessTokensMax = 4_096
/** The largest number of grants of a token. */
export const grantsMax = 64
/** The largest rate of a token, in requests per second. */
export const tokenRateMax = 1_000_000
/** The largest name of a token, in characters. */
export const tokenNameMax = 100

/** An access token, without its text. */
export type AccessToken = {
  /** 12 hex digits. */
  readonly id: string
  /** A name for people. */
  readonly name: string
  /** The grants, `RIGHT[,RIGHT…][@NAMESPACE[/KEY]]` (rfc/28, rule 2). */
  readonly grants: readonly string[]
  /** The time of its making, wall clock, ms since 1970. */
  readonly created: number
  /** The time from which on it is refused, wall clock, ms since 1970. */
  readonly expires: number
  /** The requests per second that it may send. Absent: no bound. */
  readonly rate?: number
  /** The id of the token that made it. Absent: the owner made it. */
  readonly parent?: string
}

/** An access token that was just made. */
export type NewAccessToken = AccessToken & {
  /** The text that requests bring. Nobody is told it again. */
  readonly token: string
}

/** The options of `create`. */
export type CreateTokenOptions = {
  /** The grants, 1 to `grantsMax`. */
  readonly grants: readonly string[]
  /** The time until it expires, in ms. Default `accessTokenTtlDefault`. */
  readonly ttl?: number
  /** The requests per second that it may send, above 0 to `tokenRateMax`. Default: no bound. */
  readonly rate?: number
  readonly signal?: AbortSignal
}

/** The time for which a link is good if its ttl is left out, in ms: an hour. */
export const linkTtlDefault = 3_600_000
/** The shortest ttl of a link, in ms. */
export const linkTtlMin = 1_000
/** The longest ttl of a link, in ms: seven days. */
export const linkTtlMax = 7 * 24 * 3_600_000

/** The options of `link`: a key, or a job. */
export type LinkOptions = {
  /** The key to read. */
  readonly key?: string
  /** The namespace of the key. Default: `primary`. */
  readonly namespace?: string
  /** The id of a job. */
  readonly job?: string
  /** True to let the reader follow what comes, too. */
  readonly follow?: boolean
  /** The time for which it is good, in ms. Default `linkTtlDefault`. */
  readonly ttl?: number
  readonly signal?: AbortSignal
}

/** A link, which lets who has no token read one key or one job. */
export type SignedLink = {
  /** The path on the server, with its query: put it behind `http://HOST:PORT`. */
  readonly path: string
  /** The time from which on it is refused, wall clock, ms since 1970. */
  readonly expires: number
}

type Signal = { readonly signal?: AbortSignal }

/** The access tokens of a store. A caller with an access token sees and changes those that it made,
 *  and those that they made. */
export interface AccessTokens {
  /** Makes an access token. Throws EINVAL (a grant cannot be read), E2BIG (`grantsMax`), EPERM (the
   *  caller does not have all of that itself), EBUSY (`accessTokensMax`).
   *
   *      const { token } = await store.tokens.create('ci', { grants: ['read,watch@primary/logs'] })
   *      await using reader = await connect('http://127.0.0.1:7270', { token })
   */
  create(name: string, options: CreateTokenOptions): Promise<NewAccessToken>
  /** Lists the access tokens that have not expired, in the order of their making. */
  list(options?: Signal): Promise<AccessToken[]>
  /** Sets the time until an access token expires, from now on. Throws ENOENT, EINVAL, EPERM. */
  renew(id: string, options?: Signal & { readonly ttl?: number }): Promise<AccessToken>
  /** Removes an access token, and all that it made. Their requests and watches end within a second.
   *  Returns the ids of all that were removed. Throws ENOENT. */
  revoke(id: string, options?: Signal): Promise<string[]>
  /** Makes a link to a key or a job, which the caller may read (and watch, with `follow`). It is worth
   *  nothing once the token of its maker is. Throws EINVAL, EPERM.
   *
   *      const { path } = await store.tokens.link({ key: 'ci/log', follow: true, ttl: 60_000 })
   */
  link(options: LinkOptions): Promise<SignedLink>
}
