/** The record of runs in a store: their eventlogs, and of what each target was made last. See rfc/24,
 *  rules 19, 20 and 31.
 *  Invariant: what a target was made of is written with the event that tells of it. One commit at a
 *  time is on its way, and the next one takes all that happened meanwhile. */

import type { Event, EventContext } from '../api/event.js'
import type { FlowEvent } from '../api/flow.js'
import { readKeysMax } from '../api/kvs.js'
import type { Store } from '../api/store.js'
import type { Op } from '../api/transaction.js'
import { object, shapeOf, within } from '../base/shape.js'
import { pack, unpack } from '../cache/packing.js'
import { type ErrorRecord, errorRecordOf, TailraceError, unless } from '../error.js'
import { appendOps } from '../eventlog/eventlog.js'
import { type FailedOf, type FailedRecord, failedKey, hostHere } from './failed.js'
import type { Step } from './graph.js'
import { expectedOf, type MadeOf, type MadeRecord, madeRecords, targetKey } from './made.js'
import type { ModuleCode } from './modules.js'
import { type FlowPlace, namespaceOfFlow } from './place.js'
import { graphKey, type PackedGraph } from './run-graph.js'
import type { TargetRecord } from './target.js'

/** The largest number of events of one commit. */
const eventsAtOnce = 1_000
/** The number of targets up to which expected times are read before a run. */
const expectedMax = 10_000
/** The size of errors and of records of targets above which a commit takes no further event, in bytes.
 *  Half of what a transaction takes. */
const commitSizeMax = 4 * 1024 * 1024
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
      if (record) times.set(name, expectedOf(record))
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
  /** Hears of each target that is made, or has failed for good. */
  readonly ended?: (target: string) => void
  /** The code of the modules that were read so far, by their hashes. */
  readonly modules: ReadonlyMap<string, ModuleCode>
}

/** An event that is not written yet, with the record of its target. */
type Waiting = {
  readonly event: Event
  readonly target?: string
  readonly made?: MadeOf
  readonly failed?: Omit<FailedRecord, 'run'>
  /** The size of the texts of its error at most, in bytes. */
  readonly errorSize?: number
}

/** The log of one run. Mutable; owned by its run. */
export class RunLog {
  readonly #ports: RunLogPorts
  /** The facts of results by the names of their targets, until their events are written. */
  readonly #made = new Map<string, MadeOf>()
  /** The facts of failed calls by the names of their targets, until the events are written. */
  readonly #failed = new Map<string, FailedOf>()
  readonly #writtenModules = new Set<string>()
  #waiting: Waiting[] = []
  #isWhole = true

  constructor(ports: RunLogPorts) {
    this.#ports = ports
  }

  /** Takes what a result is made of, before its event comes. */
  made(target: string, of: MadeOf): void {
    this.#made.set(target, of)
  }

  /** Takes what a call that failed was given, before its event comes. */
  failed(target: string, of: FailedOf): void {
    this.#failed.set(target, of)
  }

  /** False once an event tells of a target that has no result. */
  get isWhole(): boolean {
    return this.#isWhole
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
    const context = failure && {
      failed: errorRecordOf(failure.error).message,
      ...codeOf(failure.error),
    }
    const event = { timestamp: Date.now() / 1_000, name: 'end', ...(context && { context }) }
    this.#waiting.push({ event })
    await this.#commit({ seal: true, commit })
  }

  #take({ type, target, at, ...more }: FlowEvent): void {
    const isThere = type === 'hit' || type === 'finish'
    if (type === 'fail' || type === 'skip') this.#isWhole = false
    const made = isThere ? this.#made.get(target) : undefined
    const error = 'error' in more ? errorRecordOf(more.error) : undefined
    const told = error ? { ...more, ...detailsOf(error), error: error.message } : more
    this.#waiting.push({
      event: { timestamp: at / 1_000, name: type, context: { target, ...told } },
      target,
      ...(made && { made }),
      ...(error && { errorSize: 3 * JSON.stringify(error).length }),
      ...(error && type === 'fail' && { failed: { ...this.#failed.get(target), error, at } }),
    })
    if (isThere) this.#made.delete(target)
    // Events come late: the start of a call may be taken when it has failed already.
    if (!isThere && type !== 'fail') return
    this.#failed.delete(target)
    this.#ports.ended?.(target)
  }

  async #commit({
    seal = false,
    commit = (ops: readonly Op[]) => this.#commitOps(ops),
  } = {}): Promise<void> {
    const { run, modules } = this.#ports
    const { events, puts } = await this.#takeBatch()
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

  /** Takes the events of the next commit, and the records that they bring: as many as it holds. */
  async #takeBatch(): Promise<{ readonly events: readonly Event[]; readonly puts: readonly Op[] }> {
    const waiting = this.#waiting.slice(0, eventsAtOnce)
    const names = waiting.flatMap(({ made, target }) => (made && target ? [target] : []))
    const records = await madeRecords(this.#ports, names)
    const known = new Map(names.map((name, at) => [name, records[at]]))
    const events: Event[] = []
    const puts: Op[] = []
    let size = 0
    for (const each of waiting) {
      const record = this.#recordOf(each, known)
      size += (record?.value.length ?? 0) + (each.errorSize ?? 0)
      if (size > commitSizeMax && events.length > 0) break
      if (record) puts.push({ op: 'put', ...record })
      events.push(withExpected(each.event, known))
    }
    this.#waiting.splice(0, events.length)
    return { events, puts }
  }

  /** Returns the record of an event's target; undefined if the same stands there. */
  #recordOf(
    { target = '', made, failed }: Waiting,
    known: ReadonlyMap<string, MadeRecord | undefined>,
  ): { readonly key: string; readonly value: Uint8Array } | undefined {
    const { run } = this.#ports
    if (failed) {
      const value = pack({ ...failed, run, host: hostHere() }, 'the failure of a target')
      return { key: failedKey(target), value }
    }
    // Most of a run that finds all are told by their records already.
    const before = known.get(target)
    if (!made || (before?.id === made.id && before.hash === made.hash)) return undefined
    return { key: targetKey(target), value: pack({ ...made, run }, 'what a target was made of') }
  }
}

/** Returns an event `finish` with the time that its target took when it was made last, if it was. */
function withExpected(event: Event, known: ReadonlyMap<string, MadeRecord | undefined>): Event {
  if (event.name !== 'finish') return event
  const expected = known.get(String(event.context?.['target']))?.ms
  return expected === undefined ? event : { ...event, context: { ...event.context, expected } }
}

function codeOf(error: unknown): { readonly code?: string } {
  return error instanceof TailraceError ? { code: error.code } : {}
}

function detailsOf({ code, stack }: ErrorRecord): Omit<ErrorRecord, 'message'> {
  return { ...(code !== undefined && { code }), ...(stack !== undefined && { stack }) }
}
