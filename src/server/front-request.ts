/** A request as Node's parser and the front have it. Node asks it, once its head is read, whether the parser
 *  leaves the connection there. See rfc/12, rules 7 and 33.
 *  Invariant: a request is judged once, by its head. */

import { IncomingMessage } from 'node:http'
import type { TailraceError } from '../error.js'
import type { Backlog } from './backlogs.js'
import type { BodyShare } from './body-budget.js'
import type { Principal } from './principal.js'

/** Headers of an answer. */
export type Headers = Readonly<Record<string, string>>

/** The judgement of a request by its head. All but `admitted` end the reading of the connection by Node's
 *  parser there: it makes an event of each chunk and each request of what it was given, and a read may
 *  have ten thousand of them. */
export type Verdict =
  | { readonly kind: 'admitted' | 'chunked' | 'websocket'; readonly headers: Headers }
  | { readonly kind: 'refused'; readonly headers: Headers; readonly error: TailraceError }
  | { readonly kind: 'flood' }

/** A request, and the fields that the front adds to it. */
export class FrontRequest extends IncomingMessage {
  /** The time of `FrontOptions.bodyStallMs`. */
  declare bodyStallMs: number | undefined
  /** The body's share of `FrontOptions.bodies`. It is given back when the answer has ended, and so has
   *  the work on the request: the body is held until then. */
  declare bodyShare?: BodyShare
  /** The part of the answer in `FrontOptions.backlogs`. */
  declare backlog?: Backlog
  /** The sender of the request, once it was judged and admitted. */
  declare principal?: Principal
  /** The link that the request brings in the place of a token. The route checks it, which knows the
   *  arguments. */
  declare link?: string
  /** True if the request offers an upgrade. `declare`: an initial value would undo what the
   *  constructor of the base class has set. */
  declare upgradeOffered: boolean | undefined
  declare verdict: Verdict | undefined
  /** The source of the body, if Node does not read it. */
  declare source?: () => void

  override push(chunk: unknown, encoding?: BufferEncoding): boolean {
    // Node ends the body that it does not read.
    if (chunk === null && this.verdict?.kind === 'chunked' && !this.source) return false
    return super.push(chunk, encoding)
  }

  override _read(size: number): void {
    if (this.source) this.source()
    else super._read(size)
  }
}

/** Returns the class of the requests of one server. Node reads `upgrade` after the head of a request. If
 *  it is true, Node's parser stops there and leaves the socket to the listener of `upgrade`. If it is
 *  false, Node reads the body and handles the request like one without an offer. */
export function judgedRequest(judge: (request: FrontRequest) => Verdict): typeof FrontRequest {
  return class extends FrontRequest {
    get upgrade(): boolean {
      // The base class sets it before the head is there.
      if (this.upgradeOffered === undefined) return false
      this.verdict ??= judge(this)
      return this.verdict.kind !== 'admitted'
    }
    set upgrade(offered: boolean | null) {
      this.upgradeOffered ??= offered ?? undefined
    }
  }
}
