/** Work of those who change several namespaces at once, or roots that are not the newest: moves between namespaces,
 *  `forget`. See rfc/18, rule 6, and rfc/14.
 *  Invariant: until the work is done, the commit loop of each of its namespaces stands still. All loops are asked to
 *  in one turn of the event loop, so that two such works never wait for each other. */

import type { Committed } from '../api/transaction.js'
import { type Deferred, deferred } from '../base/deferred.js'
import type { DraftGroup } from '../draft/group.js'
import type { Engine, Head } from '../engine/engine.js'
import { TailraceError } from '../error.js'
import type { Prepared } from '../transaction/apply.js'
import { emptyTransaction } from '../transaction/transaction.js'
import { type Built, type GroupBuild, rebaseTriesMax } from './group-build.js'
import { type Sending, send } from './send.js'

/** The commit loop of a namespace, as far as it can be held: see `Committer`. */
export interface HoldableLoop {
  hold(released: Deferred<void>): Promise<void>
  begin(others?: ReadonlyMap<string, DraftGroup>): Promise<GroupBuild>
  sending(built: Built): Sending
  publish(built: Built, head: Pick<Head, 'root' | 'revision'>): Promise<void>
  follow(head: Pick<Head, 'root' | 'revision'>): void
}

/** Commits a transaction on the first of the namespaces, and moves the roots of all of them, in one durable write.
 *  Throws what `apply` throws, AnsweredBefore, and as `Committer.submit`. */
export type CommitAlone = (prepared: Prepared) => Promise<Committed>

/** Runs `work` while the loops of `namespaces` stand still: the first one is the target of what it commits. Throws
 *  what `work` throws; EBUSY, ENONS and ECLOSED where a loop does not take it. */
export async function alone<T>(
  engine: Engine,
  namespaces: readonly [target: HoldableLoop, ...others: HoldableLoop[]],
  work: (commit: CommitAlone) => Promise<T>,
): Promise<T> {
  const released = deferred<void>()
  try {
    // Asked of all before any is waited for.
    const held = await Promise.allSettled(namespaces.map((each) => each.hold(released)))
    for (const outcome of held) if (outcome.status === 'rejected') throw outcome.reason
    const [target, ...others] = namespaces
    return await work((prepared) => commitHeld(engine, { target, others }, prepared))
  } finally {
    released.resolve()
  }
}

type Held = { readonly target: HoldableLoop; readonly others: readonly HoldableLoop[] }

async function commitHeld(engine: Engine, held: Held, prepared: Prepared): Promise<Committed> {
  for (let tries = 0; tries < rebaseTriesMax; tries++) {
    const answer = deferred<Committed>()
    const built = await build(held, { prepared, answer })
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
    // Somebody else moved the roots: the same transaction is applied on theirs.
  }
  throw new TailraceError('EBUSY', 'the roots are contended: send it again')
}

/** What each loop has to send; the target last, with all nodes that its tree may name now. */
async function build(
  { target, others }: Held,
  waiting: { readonly prepared: Prepared; readonly answer: Deferred<Committed> },
): Promise<(readonly [HoldableLoop, Built])[]> {
  const builds: GroupBuild[] = []
  try {
    const groups = new Map<string, DraftGroup>()
    const begun: (readonly [HoldableLoop, GroupBuild])[] = []
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
    const built: (readonly [HoldableLoop, Built])[] = []
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

/** An engine that nobody else commits to, and loops that stand still: parts cannot come apart. */
function tornApart(): TailraceError {
  return new TailraceError(
    'EUNKNOWN',
    'a move was stored in one of its namespaces only: look before you send it again',
  )
}
