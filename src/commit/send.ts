/** Sends what was built to the engine until it is known what became of it. See rfc/17, rule 6.
 *  Invariant: a commit is sent again with the same `tx` only; one that was stored is never called refused. */

import type { Engine, Head, Part, Root } from '../engine/engine.js'
import { TailraceError } from '../error.js'

/** The same commit is sent this often before its outcome is called unknown. */
export const commitTriesMax = 8

export type Sending = {
  readonly part: Part
  /** The seq of the root that it follows. */
  readonly after: number
}

/** `head`: where the namespace is: at the part's root, or at one that somebody else made. */
export type Sent = {
  readonly stored: boolean
  readonly head: Pick<Head, 'root' | 'revision'>
}

/** In the order of the parts, which share one durable write. Throws what the engine says of a commit that was
 *  not stored, ENONS, EUNKNOWN where that cannot be told. */
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

/** A refusal does not prove that nothing was stored: looks for our `tx` in what was kept. */
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
