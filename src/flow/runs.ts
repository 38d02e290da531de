/** The runs of a flow, those of other processes too: which there are, whether they go on, and the end of
 *  one. See rfc/26, rules 1 to 4.
 *  Invariant: nothing is known of a run but its log and its lease. */

import type { EventContext } from '../api/event.js'
import type { FlowStore, RunOrigin } from '../api/flow.js'
import type {
  CancelRunOptions,
  FlowRuns,
  OutputChunk,
  RunFacts,
  RunFailure,
  RunOutputOptions,
  RunStatus,
} from '../api/flow-look.js'
import { eitherSignal } from '../base/abort.js'
import {
  checkOptions,
  checkValue,
  count,
  flag,
  invalid,
  object,
  shapeOf,
  signal,
  text,
  texts,
  within,
} from '../base/shape.js'
import { pause, waitMsMax } from '../base/timer.js'
import { isCode, TailraceError } from '../error.js'
import { decodeEvents } from '../eventlog/eventlog.js'
import { checkRunId, type FlowPlace, namespaceOfFlow, placeOf } from './place.js'
import { lastLinesOf, printed, printedFrom } from './printed.js'
import { lifeKey, requestOp } from './run-life.js'
import { outputDirectory } from './run-output.js'
import { StatusReader } from './status.js'
import { wholeNumbers } from './target.js'

/** The number of runs that are listed if nobody says how many. */
export const newestDefault = 20
/** The number of failures whose last output is told. */
const outputsShown = 10
/** The largest size of the text that says who cancels a run, in bytes. */
const bySizeMax = 256

const stores = shapeOf<FlowStore>({ store: object, layer: text, flow: text }, ['store'])
const cancels = shapeOf<CancelRunOptions>({ by: text, signal }, ['by'])
const outputs = shapeOf<RunOutputOptions>({ follow: flag, lines: count, signal })
const waits = shapeOf<{ readonly signal?: AbortSignal }>({ signal })
const originOf = within(
  shapeOf<RunOrigin>({ file: text, directory: text, targets: texts, options: object }, [
    ...(['file', 'directory', 'targets', 'options'] as const),
  ]),
)

/** Returns the runs of a flow. Throws EINVAL.
 *
 *      const runs = runsOf({ store })
 *      for (const run of await runs.newest()) console.log(await runs.show(run))
 */
export function runsOf(options: FlowStore): FlowRuns {
  checkOptions(options, stores)
  return new StoredRuns(placeOf(options.store, options))
}

/** Returns the key and the namespace of the log of a run. Throws EINVAL. */
export function logOf(
  flow: string | undefined,
  run: string,
): { readonly key: string; readonly namespace: string } {
  return { key: logKey(run), namespace: namespaceOfFlow(flow ?? 'main') }
}

function logKey(run: string): string {
  checkRunId(run)
  return `runs/${run}`
}

class StoredRuns implements FlowRuns {
  readonly #place: FlowPlace
  readonly #namespace: string

  constructor(place: FlowPlace) {
    this.#place = place
    this.#namespace = namespaceOfFlow(place.flow)
  }

  async newest(limit = newestDefault): Promise<readonly string[]> {
    const { store } = this.#place
    const scope = { namespace: this.#namespace }
    const newest: string[] = []
    for (let after = ''; ; ) {
      const page = await store.list('runs', { ...scope, after }).catch(noFlow)
      const names = page?.entries.map(({ name }) => name) ?? []
      newest.push(...names)
      newest.splice(0, newest.length - limit)
      if (!page?.more) return newest.reverse()
      after = names.at(-1) ?? after
    }
  }

  async show(run: string): Promise<RunFacts> {
    const facts = await this.#factsOf(run)
    if (facts.state !== 'killed') return facts
    const { held } = await this.#place.store.leases.show(lifeKey(run), {
      namespace: this.#namespace,
    })
    // It may have ended between the two looks.
    return held ? { ...facts, state: 'running' } : this.#factsOf(run)
  }

  async cancel(run: string, options: CancelRunOptions): Promise<void> {
    checkOptions(options, cancels)
    const { by, signal } = options
    if (Buffer.byteLength(by) > bySizeMax) throw invalid(`by has at most ${bySizeMax} bytes`)
    const { store } = this.#place
    const scope = { namespace: this.#namespace, ...(signal && { signal }) }
    const { state } = await this.#factsOf(run)
    const { token } = await store.leases.show(lifeKey(run), scope)
    if (!token || state !== 'killed') throw this.#endedError(await this.show(run))
    try {
      const guards = [{ lease: lifeKey(run), token }]
      await store.commit({ guards, ops: [requestOp(run, by)] }, { ...scope, exactlyOnce: true })
    } catch (error) {
      throw isCode(error, 'ECONFLICT') ? this.#endedError(await this.show(run)) : error
    }
  }

  async status(run: string): Promise<RunStatus> {
    const reader = await StatusReader.of(this.#place, await this.show(run))
    const status = await reader.read()
    const failures = status.failures.map(async (failure, at): Promise<RunFailure> => {
      if (at >= outputsShown) return failure
      const output = await lastLinesOf({ ...this.#place, run, target: failure.target })
      return { ...failure, ...(output !== undefined && { output }) }
    })
    return { ...status, failures: await Promise.all(failures) }
  }

  async *output(
    run: string,
    target: string,
    options: RunOutputOptions = {},
  ): AsyncGenerator<OutputChunk, void, undefined> {
    checkOptions(options, outputs)
    checkValue('the name of a target', target, text)
    const { state } = await this.show(run)
    const place = { ...this.#place, run, target }
    if (options.follow !== true || state !== 'running') yield* printed(place, options)
    else yield* printedFrom(place, options, (signal) => this.ended(run, { signal }))
  }

  async remove(run: string): Promise<void> {
    const { store, flow } = this.#place
    const { state } = await this.show(run)
    if (state === 'running') {
      const message = `run ${run} of the flow ${flow} goes on, or was killed just now: cancel it first`
      throw new TailraceError('EBUSY', message)
    }
    const scope = { namespace: this.#namespace }
    const key = outputDirectory(run)
    const hasOutput = await store.stat(key, scope).catch(isDirectory)
    const output = { op: 'unlink', key, recursive: true } as const
    const ops = [{ op: 'unlink', key: logKey(run) } as const, ...(hasOutput ? [output] : [])]
    await store.commit({ ops }, { ...scope, exactlyOnce: true })
  }

  async *follow(
    run: string,
    options: { readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<RunStatus, void, undefined> {
    checkOptions(options, waits)
    const over = new AbortController()
    const either = eitherSignal(options.signal, over.signal)
    const kill = async () => {
      const { state } = await this.ended(run, { signal: either.signal })
      // Others seal their logs, which ends the loop.
      if (state === 'killed') over.abort()
    }
    const facts = await this.show(run)
    const reader = await StatusReader.of(this.#place, facts)
    const killed = facts.state === 'running' ? kill().catch(() => {}) : undefined
    try {
      for await (const status of reader.follow(either.signal)) {
        if (!reader.hasEnded) yield status
      }
    } catch (error) {
      if (!over.signal.aborted) throw error
    } finally {
      over.abort()
      either.end()
      await killed
    }
    yield reader.statusOf(await this.show(run))
  }

  async ended(run: string, options: { readonly signal?: AbortSignal } = {}): Promise<RunFacts> {
    checkOptions(options, waits)
    const { state } = await this.#factsOf(run)
    if (state === 'killed') await this.#untilFree(run, options)
    return this.#factsOf(run)
  }

  /** Waits until nobody holds the lease of a run. */
  async #untilFree(run: string, options: { readonly signal?: AbortSignal }): Promise<void> {
    const events = this.#place.store.watch(lifeKey(run), {
      ...{ mode: 'value', lease: true, waitCreate: true, namespace: this.#namespace },
      ...options,
    })
    const free = new AbortController()
    // A watch of an embedded store does not keep the process alive.
    pause(waitMsMax, free.signal).catch(() => {})
    try {
      for await (const event of events) if (event.type === 'lease' && !event.held) return
    } finally {
      free.abort()
    }
  }

  #endedError({ run, state }: RunFacts): TailraceError {
    const said = state === 'killed' ? 'was killed' : `has ended: ${state}`
    const again = `its lease was taken anew: try again`
    const message = `run ${run} ${state === 'running' ? again : `does not go on: it ${said}`}`
    return new TailraceError('ECONFLICT', message)
  }

  /** Returns the facts in the log of a run. One that has not ended counts as killed. */
  async #factsOf(run: string): Promise<RunFacts> {
    const key = logKey(run)
    const { store, flow } = this.#place
    const scope = { namespace: this.#namespace }
    const stat = await store.stat(key, scope).catch(noFlow)
    if (!stat) throw new TailraceError('ENOENT', `the flow ${flow} has no run ${run}`)
    const [begin] = await this.#eventsAt(key, 0)
    const facts = { run, at: Math.round((begin?.timestamp ?? 0) * 1_000) }
    const begun = begunOf(begin?.context ?? {})
    if (!stat.sealed) return { ...facts, ...begun, state: 'killed' }
    const last = await this.#eventsAt(key, stat.count - 1)
    return { ...facts, ...begun, ...endOf(last.at(-1)?.context ?? {}) }
  }

  /** Returns the events of one blob. */
  async #eventsAt(key: string, index: number) {
    const reading = await this.#place.store.read(key, { index, namespace: this.#namespace })
    const chunks: Uint8Array[] = []
    for await (const chunk of reading?.chunks ?? []) chunks.push(chunk)
    return [...decodeEvents(Buffer.concat(chunks))]
  }
}

/** Returns what the context of an event `begin` tells of how a run was begun. */
function begunOf(begun: EventContext): Omit<RunFacts, 'run' | 'at' | 'state'> {
  const { origin, resumes, concurrency, limits, graph, layer } = begun
  return {
    ...(originOf.is(origin) && { origin: origin as unknown as RunOrigin }),
    ...(typeof resumes === 'string' && { resumes }),
    ...(count.is(concurrency) && { concurrency: concurrency as number }),
    ...(wholeNumbers.is(limits) && { limits: limits as { readonly [name: string]: number } }),
    ...(typeof graph === 'string' && { graph }),
    ...(typeof layer === 'string' && { layer }),
  }
}

/** Returns how a run ended, as the context of its event `end` tells. */
export function endOf({ failed, code }: EventContext): Pick<RunFacts, 'state' | 'failed'> {
  if (typeof failed !== 'string') return { state: 'ok' }
  return { state: code === 'ECANCELED' ? 'canceled' : 'failed', failed }
}

/** True for the error of a key that is a directory. */
function isDirectory(error: unknown): boolean {
  if (isCode(error, 'EISDIR')) return true
  if (!isCode(error, 'ENOENT')) throw error
  return false
}

/** Takes the errors for a flow that never ran for undefined. */
function noFlow(error: unknown): undefined {
  if (!isCode(error, 'ENONS') && !isCode(error, 'ENOENT')) throw error
  return undefined
}
