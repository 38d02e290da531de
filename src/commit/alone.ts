/** Work on paused commit loops: transactions that change several namespaces at once, and changes
 *  of older roots. Moves between namespaces and `forget` need it. See rfc/18, rule 6, and
 *  rfc/14, rule 23.
 *  Invariant: the commit loops of all its namespaces stand still until the work is done. All of
 *  them are asked in one turn of the event loop, so that two such works never wait for each
 *  other. */

import type { Committed } from '../api/transaction.js'
import { type Deferred, deferred } from '../base/deferred.js'
import type { DraftGroup } from '../draft/group.js'
import type { Engine, Head } from '../engine/engine.js'
import { TailraceError } from '../error.js'
import type { Prepared } from '../transaction/apply.js'
import { emptyTransaction } from '../transaction/transaction.js'
import { type Built, type GroupBuild, rebaseTriesMax } from './group-build.js'
import { type Sending, send } from './send.js'

/** The calls of a commit loop that work on paused loops needs. `Committer` implements and
 *  documents them. */
interface PausableLoop {
  pause(resumed: Deferred<void>): Promise<void>
  begin(others?: ReadonlyMap<string, DraftGroup>): Promise<GroupBuild>
  sending(built: Built): Sending
  publish(built: Built, head: Pick<Head, 'root' | 'revision'>): Promise<void>
  follow(head: Pick<Head, 'root' | 'revision'>): void
}

/** Commits a transaction on the target namespace, and moves the roots of all namespaces, in one
 *  durable write. Throws what `apply` throws, AnsweredBefore, and what `Committer.submit`
 *  throws. */
type CommitAlone = (prepared: Prepared) => Promise<Committed>

/** Runs `work` while the loops of `namespaces` stand still. The first one is the target of the
 *  transactions that it commits. Throws what `work` throws, and EBUSY, ENONS and ECLOSED if a loop
 *  refuses to pause. */
export async function alone<T>(
  engine: Engine,
  namespaces: readonly [target: PausableLoop, ...others: PausableLoop[]],
  work: (commit: CommitAlone) => Promise<T>,
): Promise<T> {
  const resumed = deferred<void>()
  try {
    // Asks all loops before it waits for one of them.
    const paused = await Promise.allSettled(namespaces.map((each) => each.pause(resumed)))
    for (const outcome of paused) if (outcome.status === 'rejected') throw outcome.reason
    const [target, ...others] = namespaces
    return await work((prepared) => commitPaused(engine, { target, others }, prepared))
  } finally {
    resumed.resolve()
  }
}

type Loops = { readonly target: PausableLoop; readonly others: readonly PausableLoop[] }

async function commitPaused(engine: Engine, loops: Loops, prepared: Prepared): Promise<Committed> {
  for (let tries = 0; tries < rebaseTriesMax; tries++) {
    const answer = deferred<Committed>()
    const built = await build(loops, { prepared, answer })
    const sent = await send(
      engine,
      built.map(([committer, part]) => committer.sending(part)),
    )
    const stored = sent.filter((each) => each.stored).length
    if (stored > 0 && stored < sent.length) throw tornApart()
    for (const [index, { head }] of sent.entries()) {
      const [committer, part] = built[index] ?? []
      if (stored === 0) committer?.follow(head)
      else if (part) await committer?.publish(part, head)
    }
    if (stored > 0) return answer.promise
    // Somebody else moved the roots: applies the same transaction on theirs.
  }
  throw new TailraceError('EBUSY', 'the roots are contended: send it again')
}

/** Builds the group of each loop. The target comes last, and brings the nodes of the others too,
 *  since its tree may name them. */
async function build(
  { target, others }: Loops,
  waiting: { readonly prepared: Prepared; readonly answer: Deferred<Committed> },
): Promise<(readonly [PausableLoop, Built])[]> {
  const builds: GroupBuild[] = []
  try {
    const groups = new Map<string, DraftGroup>()
    const begun: (readonly [PausableLoop, GroupBuild])[] = []
    for (const committer of others) {
      const each = await committer.begin()
      builds.push(each)
      await each.apply(emptyTransaction)
      groups.set(each.group.namespace, each.group)
      begun.push([committer, each])
    }
    const own = await target.begin(groups)
    builds.push(own)
    const taken = [{ waiting, applied: await own.apply(waiting.prepared) }]
    const built: (readonly [PausableLoop, Built])[] = []
    for (const [committer, each] of begun) {
      built.push([committer, { taken: [], ...(await each.finish()) }])
    }
    const { root, blobs } = await own.finish()
    const theirs = built.flatMap(([, part]) => part.blobs)
    return [...built, [target, { taken, root, blobs: [...theirs, ...blobs] }]]
  } finally {
    for (const each of builds) each[Symbol.dispose]()
  }
}

/** Makes the error for a joint commit that was stored in part. It cannot happen while the loops
 *  stand still and nobody else commits to the engine. */
function tornApart(): TailraceError {
  return new TailraceError(
    'EUNKNOWN',
    'a move was stored in one of its namespaces only: look before you send it again',
  )
}
