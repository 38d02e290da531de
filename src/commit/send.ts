/** Sends built groups to the engine until their outcome is known. See rfc/17, rule 6.
 *  Invariant: a commit is sent again only with the same `tx`. A commit that was stored is never
 *  reported as refused. */

import type { Engine, Head, Part, Root } from '../engine/engine.js'
import { TailraceError } from '../error.js'

/** The number of times that a commit is sent before its outcome is called unknown. */
export const commitTriesMax = 8

/** The part of one namespace in a commit. */
export type Sending = {
  readonly part: Part
  /** The seq of the root that it follows. */
  readonly after: number
}

/** The outcome of a part. */
export type Sent = {
  /** True if the part's root is in the history. */
  readonly stored: boolean
  /** The newest root of the namespace: the part's, or one that somebody else made. */
  readonly head: Pick<Head, 'root' | 'revision'>
}

/** Sends parts in one durable write, and returns their outcomes in the same order.
 *  Throws the engine's error if nothing was stored, ENONS, and EUNKNOWN where it is not
 *  known if something was. */
export async function send(engine: Engine, sending: readonly Sending[]): Promise<Sent[]> {
  const parts = sending.map(({ part }) => part)
  let failure: TailraceError | undefined
  let unknown = false
  for (let tries = 0; tries < commitTriesMax; tries++) {
    const sent: Sent[] = []
    const outcomes = await engine.commit(parts)
    for (const [index, each] of sending.entries()) {
      const outcome = outcomes[index]
      if (!outcome) throw new TailraceError('EIO', 'the engine gave no outcome')
      if (outcome.status === 'unavailable') {
        failure = outcome.error
        unknown ||= outcome.applied === 'unknown'
      } else if (outcome.status === 'applied') {
        sent.push({ stored: true, head: { root: each.part.root, revision: outcome.revision } })
      } else sent.push(await judged(engine, each, outcome.head))
    }
    if (sent.length === sending.length) return sent
    if (!unknown && failure?.code !== 'ETIMEDOUT' && failure?.code !== 'EBUSY') break
  }
  if (!unknown && failure) throw failure
  throw new TailraceError(
    'EUNKNOWN',
    'it is not known whether the transaction was stored: look before you send it again',
    { cause: failure },
  )
}

/** Judges a conflict. It does not prove that nothing was stored, so this looks for the part's `tx`
 *  in the history. Throws ENONS. */
async function judged(
  engine: Engine,
  { part, after }: Sending,
  head: Head | undefined,
): Promise<Sent> {
  if (!head) throw new TailraceError('ENONS', `the namespace ${part.namespace} was removed`)
  return { stored: await isStored(engine, part, after, head.root), head }
}

async function isStored(engine: Engine, part: Part, after: number, newest: Root): Promise<boolean> {
  if (newest.tx === part.root.tx) return true
  for await (const root of engine.history(part.namespace, after)) {
    if (root.tx === part.root.tx) return true
  }
  return false
}
