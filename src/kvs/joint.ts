/** A transaction that takes keys from other namespaces: one durable write moves the roots of all of them.
 *  See rfc/6, rule 29.
 *  Invariant: while it is built and sent, the commit loop of each namespace stands still. All loops are
 *  asked to in one turn of the event loop, so that two such transactions never wait for each other. */

import { reservedNamespaces } from '../api/namespace.js'
import type { Committed } from '../api/transaction.js'
import { type Deferred, deferred } from '../base/deferred.js'
import type { Engine } from '../engine/engine.js'
import { TailraceError } from '../error.js'
import type { Group } from '../transaction/group.js'
import { type Prepared, prepare } from '../transaction/transaction.js'
import { type Built, type Committer, rebaseTriesMax } from './committer.js'
import type { GroupBuild } from './group-build.js'
import { send } from './send.js'

/** The namespaces that a transaction on `namespace` takes keys from. Throws EPERM (reserved). */
export function othersOf(prepared: Prepared, namespace: string): readonly string[] {
  const others = new Set<string>()
  for (const [index, op] of prepared.ops.entries()) {
    if (op.op !== 'move' || op.namespace === undefined || op.namespace === namespace) continue
    if (reservedNamespaces.has(op.namespace)) {
      const message = `the namespace ${op.namespace} is reserved: its keys are not moved away`
      throw new TailraceError('EPERM', message, { failed: { op: index } })
    }
    others.add(op.namespace)
  }
  return [...others]
}

/** `others` by their names. Throws as `Committer.submit`; EINVAL on an engine that others commit to. */
export async function commitJointly(
  engine: Engine,
  target: Committer,
  others: ReadonlyMap<string, Committer>,
  prepared: Prepared,
): Promise<Committed> {
  if (engine.supports.shared) {
    const message = 'on a shared engine nothing moves between namespaces: copy, then unlink'
    throw new TailraceError('EINVAL', message)
  }
  const released = deferred<void>()
  try {
    const all = [target, ...others.values()]
    // Asked of all before any is waited for.
    const held = await Promise.allSettled(all.map((committer) => committer.hold(released)))
    for (const outcome of held) if (outcome.status === 'rejected') throw outcome.reason
    for (let tries = 0; tries < rebaseTriesMax; tries++) {
      const committed = await commitHeld(engine, target, others, prepared)
      if (committed) return committed
    }
    throw new TailraceError('EBUSY', 'the roots are contended: send it again')
  } finally {
    released.resolve()
  }
}

/** Undefined where somebody else has moved the roots, which the namespaces then follow. */
async function commitHeld(
  engine: Engine,
  target: Committer,
  others: ReadonlyMap<string, Committer>,
  prepared: Prepared,
): Promise<Committed | undefined> {
  const answer = deferred<Committed>()
  const built = await build(target, others, { prepared, answer })
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
  return stored > 0 ? answer.promise : undefined
}

/** What each loop has to send; the target last, with all nodes that its tree may name now. */
async function build(
  target: Committer,
  others: ReadonlyMap<string, Committer>,
  waiting: { readonly prepared: Prepared; readonly answer: Deferred<Committed> },
): Promise<(readonly [Committer, Built])[]> {
  const builds: GroupBuild[] = []
  try {
    const groups = new Map<string, Group>()
    const begun: (readonly [Committer, GroupBuild])[] = []
    for (const [name, committer] of others) {
      const each = await committer.begin()
      builds.push(each)
      await each.apply(prepare({ ops: [] }))
      groups.set(name, each.group)
      begun.push([committer, each])
    }
    const own = await target.begin(groups)
    builds.push(own)
    const taken = [{ waiting, applied: await own.apply(waiting.prepared) }]
    const built: (readonly [Committer, Built])[] = []
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
