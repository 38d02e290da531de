/** The record of runs in a store: their eventlogs, and of what each target was made last. See rfc/24,
 *  rules 19 and 20.
 *  Invariant: what a target was made of is written with the event that tells of it. One commit at a
 *  time is on its way, and the next one takes all that happened meanwhile. */

import type { Event, EventContext } from '../api/event.js'
import type { FlowEvent } from '../api/flow.js'
import { readKeysMax } from '../api/kvs.js'
import type { Store } from '../api/store.js'
import type { Op } from '../api/transaction.js'
import { object, shapeOf, within } from '../base/shape.js'
import { pack, unpack } from '../cache/packing.js'
import { reasonOf, TailraceError, unless } from '../error.js'
import { appendOps } from '../eventlog/eventlog.js'
import type { Step } from './graph.js'
import { type MadeOf, madeRecords, targetKey } from './made.js'
import type { ModuleCode } from './modules.js'
import { type FlowPlace, namespaceOfFlow } from './place.js'
import { graphKey, type PackedGraph } from './run-graph.js'
import type { TargetRecord } from './target.js'

/** The largest number of events of one commit. */
const eventsAtOnce = 1_000
/** The number of targets up to which expected times are read before a run. */
const expectedMax = 10_000
/** The least expected time, in ms: a target that took none is still a step of its path. */
const leastMs = 0.01
/** The largest number of events that wait for a commit; above it the run's log waits. */
const waitingMax = 16 * eventsAtOnce

const moduleCode = within(
  shapeOf<ModuleCode>({ files: object, packages: object }, ['files', 'packages']),
)

/** Reads the code of a module by its hash; undefined if it was not written. */
export async function moduleRecord(
  { store, flow }: Pick<FlowPlace, 'store' | 'flow'>,
  hash: string,
): Promise<ModuleCode | undefined> {
  const scope = { namespace: namespaceOfFlow(flow) }
  const bytes = await store.get(moduleKey(hash), scope).catch(unless('ENONS'))
  const code = bytes && unpack(bytes, 'the code of a module')
  return moduleCode.is(code) ? (code as ModuleCode) : undefined
}

/** Returns the expected time of each step of a run, in ms: that of its last call. Above `expectedMax`
 *  targets all count the same. */
export async function expectedTimes(
  place: Pick<FlowPlace, 'store' | 'flow'>,
  targets: readonly TargetRecord[],
): Promise<(step: Step) => number> {
  const names = namesBelow(targets)
  if (names.length > expectedMax) return () => 1
  const times = new Map<string, number>()
  for (let at = 0; at < names.length; at += readKeysMax) {
    const page = names.slice(at, at + readKeysMax)
    const records = await madeRecords(place, page)
    for (const [index, name] of page.entries()) {
      const record = records[index]
      if (record) times.set(name, Math.max(leastMs, record.ms))
    }
  }
  const sum = [...times.values()].reduce((all, ms) => all + ms, 0)
  const mean = times.size === 0 ? 1 : sum / times.size
  return ({ target }) => times.get(target.name) ?? mean
}

/** Returns the names of targets and of what they depend on, at most one more than `expectedMax`. */
function namesBelow(targets: readonly TargetRecord[]): readonly string[] {
  const found = new Set(targets)
  for (const { sources } of found) {
    for (const source of sources) found.add(source)
    if (found.size > expectedMax) break
  }
  return [...found].map(({ name }) => name)
}

function moduleKey(hash: string): string {
  return `modules/${hash}`
}

export type RunLogPorts = {
  readonly store: Store
  readonly flow: string
  readonly run: string
  /** The code of the modules that were read so far, by their hashes. */
  readonly modules: ReadonlyMap<string, ModuleCode>
}

/** An event that is not written yet, with what its target was made of. */
type Waiting = {
  readonly event: Event
  readonly made?: { readonly target: string; readonly of: MadeOf }
}

/** The log of one run. Mutable; owned by its run. */
export class RunLog {
  readonly #ports: RunLogPorts
  /** The facts of results by the names of their targets, until their events are written. */
  readonly #made = new Map<string, MadeOf>()
  readonly #writtenModules = new Set<string>()
  #waiting: Waiting[] = []

  constructor(ports: RunLogPorts) {
    this.#ports = ports
  }

  /** Takes what a result is made of, before its event comes. */
  made(target: string, of: MadeOf): void {
    this.#made.set(target, of)
  }

  /** Makes the namespace. */
  async open(): Promise<void> {
    const { store, flow } = this.#ports
    await store.namespaces.create(namespaceOfFlow(flow)).catch(unless('EEXIST'))
  }

  /** Writes the first event, and the graph if it is not there. `more`: what it tells besides. */
  async begin(
    targets: readonly string[],
    more: EventContext,
    graph: PackedGraph | undefined,
  ): Promise<void> {
    const { store, flow } = this.#ports
    const [key, scope] = [graphKey(graph?.hash ?? ''), { namespace: namespaceOfFlow(flow) }]
    const isThere = !graph || (await store.stat(key, scope))
    const puts: readonly Op[] = isThere ? [] : [{ op: 'put', key, value: graph.bytes }]
    const context = {
      ...{ targets: targets.slice(0, eventsAtOnce), count: targets.length, ...more },
      ...(graph && { graph: graph.hash }),
    }
    this.#waiting.push({ event: { timestamp: Date.now() / 1_000, name: 'begin', context } })
    await this.#commit({ commit: (ops) => this.#commitOps([...puts, ...ops]) })
  }

  /** Writes events as they come, until they end. */
  async write(events: AsyncIterable<FlowEvent>): Promise<void> {
    let committing: Promise<void> | undefined
    let failed: { readonly error: unknown } | undefined
    const commit = async () => {
      while (this.#waiting.length > 0 && !failed) await this.#commit()
      committing = undefined
    }
    for await (const event of events) {
      this.#take(event)
      committing ??= commit().catch((error: unknown) => {
        failed = { error }
      })
      if (this.#waiting.length >= waitingMax) await committing
      if (failed) throw failed.error
    }
    await committing
    if (failed) throw failed.error
  }

  /** Writes the last event by `commit`. `failure`: what the run rejects with. */
  async end(
    commit: (ops: readonly Op[]) => Promise<void>,
    failure?: { readonly error: unknown },
  ): Promise<void> {
    const context = failure && { failed: reasonOf(failure.error), ...codeOf(failure.error) }
    const event = { timestamp: Date.now() / 1_000, name: 'end', ...(context && { context }) }
    this.#waiting.push({ event })
    await this.#commit({ seal: true, commit })
  }

  #take(event: FlowEvent): void {
    const { type, target, at, ...more } = event
    const told = 'error' in more ? { error: reasonOf(more.error) } : more
    const made = this.#made.get(target)
    const isThere = type === 'hit' || type === 'finish'
    this.#waiting.push({
      event: { timestamp: at / 1_000, name: type, context: { target, ...told } },
      ...(made && isThere && { made: { target, of: made } }),
    })
    if (isThere) this.#made.delete(target)
  }

  async #commit({
    seal = false,
    commit = (ops: readonly Op[]) => this.#commitOps(ops),
  } = {}): Promise<void> {
    const { run, modules } = this.#ports
    const batch = this.#waiting.splice(0, eventsAtOnce)
    const events = batch.map(({ event }) => event)
    const made = batch.flatMap((each) => each.made ?? [])
    // Most of a run that finds all are told by their records already.
    const known = await madeRecords(
      this.#ports,
      made.map(({ target }) => target),
    )
    const news = made.filter(({ of }, at) => known[at]?.id !== of.id || known[at].hash !== of.hash)
    const puts = news.map(
      ({ target, of }): Op => ({
        ...{ op: 'put', key: targetKey(target) },
        value: pack({ ...of, run }, 'what a target was made of'),
      }),
    )
    const unwritten = [...modules].filter(([hash]) => !this.#writtenModules.has(hash))
    const codes = unwritten.map(
      ([hash, code]): Op => ({
        ...{ op: 'put', key: moduleKey(hash), value: pack(code, 'a module') },
      }),
    )
    const ops = [...codes, ...puts, ...appendOps(`runs/${run}`, events, seal)]
    await commit(ops)
    for (const [hash] of unwritten) this.#writtenModules.add(hash)
  }

  async #commitOps(ops: readonly Op[]): Promise<void> {
    const { store, flow } = this.#ports
    await store.commit({ ops }, { namespace: namespaceOfFlow(flow), exactlyOnce: true })
  }
}

function codeOf(error: unknown): { readonly code?: string } {
  return error instanceof TailraceError ? { code: error.code } : {}
}
