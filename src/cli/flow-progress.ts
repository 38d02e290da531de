/** The progress of a run of a flow, for people and for programs. See rfc/24, rule 25.
 *  Invariant: people get a line for each target that has ended, in the order of the ends; a branch has
 *  one only if it failed. A `map` or `cross` counts as its branches. */

import { inspect } from 'node:util'
import type { FailureMode, FlowEvent } from '../api/flow.js'
import { errorRecordOf } from '../error.js'
import type { CommandContext } from './command.js'
import type { Color, Line } from './output.js'
import { Progress } from './progress.js'

/** The numbers of targets by what became of them. */
export type FlowCounts = {
  readonly made: number
  readonly found: number
  readonly failed: number
  readonly skipped: number
}

/** Counts what became of the targets of one run. Mutable. */
export class FlowTally {
  #made = 0
  #found = 0
  #failed = 0
  #skipped = 0
  /** The names of each `map` and `cross` whose branches are known. */
  readonly #branched = new Set<string>()

  /** Takes an event by its type and its target. */
  take(type: string, target: string): void {
    if (type === 'branch') this.#branched.add(target)
    if (this.#branched.has(target)) return
    if (type === 'finish') this.#made++
    if (type === 'hit') this.#found++
    if (type === 'fail') this.#failed++
    if (type === 'skip') this.#skipped++
  }

  get counts(): FlowCounts {
    const [made, found, failed, skipped] = [this.#made, this.#found, this.#failed, this.#skipped]
    return { made, found, failed, skipped }
  }
}

/** Writes counts as a sentence has them. */
export function countsText(counts: FlowCounts): string {
  const names = ['made', 'found', 'failed', 'skipped'] as const
  return names.map((name) => `${counts[name]} ${name}`).join(', ')
}

/** A `map` or `cross` whose branches are known. */
type Branched = { readonly count: number; made: number }

/** Tells people and programs of the events of one run. Mutable; owned by its command. */
export class FlowProgress {
  readonly #stdout: CommandContext['stdout']
  readonly #stderr: CommandContext['stderr']
  readonly #json: boolean
  readonly #line: Progress
  readonly #tally = new FlowTally()
  readonly #now: () => number
  readonly #began: number
  /** The number of targets that are known, without each `map` and `cross` that has branches. */
  #known: number
  /** The times when the calls that run began, by the names of their targets. */
  readonly #running = new Map<string, number>()
  readonly #branched = new Map<string, Branched>()
  readonly #join: string
  #failure: { readonly error: unknown } | undefined

  /** `known`: the number of targets before any branches are known. `join`: the command by which a worker
   *  joins. `now` is a clock in ms. */
  constructor(
    { stdout, stderr }: Pick<CommandContext, 'stdout' | 'stderr'>,
    options: { readonly json: boolean; readonly known: number; readonly join?: string },
    now = () => performance.now(),
  ) {
    this.#stdout = stdout
    this.#stderr = stderr
    this.#json = options.json
    this.#known = options.known
    this.#join = options.join ?? 'tailrace worker FILE'
    this.#line = new Progress(stderr, now)
    this.#now = now
    this.#began = now()
  }

  get counts(): FlowCounts {
    return this.#tally.counts
  }

  /** True if a target failed whose failure is one of the run. */
  get hasFailed(): boolean {
    return this.#failure !== undefined
  }

  /** True if the first such target threw `error`, which was told then. */
  hasTold(error: unknown): boolean {
    return this.#failure !== undefined && this.#failure.error === error
  }

  /** Tells of an event. */
  async take(event: FlowEvent): Promise<void> {
    const { type, target, at } = event
    this.#tally.take(type, target)
    const began = this.#running.get(target)
    if (type === 'start') this.#running.set(target, at)
    else if (type !== 'wait' && type !== 'audit') this.#running.delete(target)
    if (type === 'fail' && comesOf[event.onError] === '') this.#failure ??= { error: event.error }
    if (type === 'branch') {
      this.#branched.set(target, { count: event.branches, made: 0 })
      this.#known += event.branches - 1
    }
    if (type === 'finish') this.#countBranch(target)
    if (this.#json) return this.#stdout.json(eventJson(event))
    const lines = this.#linesOf(event, began)
    if (lines.length > 0) {
      await this.#line.clear()
      await this.#stderr.lines(lines)
    }
    await this.#line.show(() => {
      const { made, found, failed, skipped } = this.counts
      const done = made + found + failed + skipped
      return `${done} of ${this.#known} done, ${this.#running.size} running, ${failed} failed`
    })
  }

  /** Tells how many targets the run has made, and how long it took. */
  async end(run: string | undefined): Promise<void> {
    await this.#line.clear()
    const ms = Math.round(this.#now() - this.#began)
    const { counts } = this
    if (this.#json) return this.#stdout.json({ type: 'end', run, ...counts, ms })
    await this.#stderr.line(`${run}: ${countsText(counts)} in ${(ms / 1_000).toFixed(1)} s`)
  }

  #countBranch(target: string): void {
    const end = target.indexOf('[')
    const of = end < 0 ? undefined : this.#branched.get(target.slice(0, end))
    if (of) of.made++
  }

  #linesOf(event: FlowEvent, began: number | undefined): readonly Line[] {
    const { type, target } = event
    const branched = this.#branched.get(target)
    const isBranch = target.includes('[')
    switch (type) {
      case 'start':
      case 'branch':
        return []
      case 'hit':
        return isBranch ? [] : [endLine('dim', 'found', target)]
      case 'finish':
        if (isBranch) return []
        if (!branched) return [endLine('green', 'made', target, msText(event.ms))]
        return [branchedLine(target, branched, event.ms)]
      case 'retry': {
        const again = `call ${event.tries} failed, again in ${msText(event.waitMs)}: `
        return [endLine('yellow', 'retry', target, again + firstLineOf(event.error))]
      }
      case 'fail': {
        const took = began === undefined ? '' : msText(event.at - began)
        const more = [took, comesOf[event.onError]].filter((text) => text !== '').join(', ')
        const stack = inspect(event.error).split('\n')
        return [endLine('red', 'failed', target, more), ...stack.map((line) => `  ${line}`)]
      }
      case 'audit': {
        const { files } = event
        const more = `${files.length} files that are no inputs of it:`
        return [endLine('yellow', 'reads', target, more), ...files.map((path) => `  ${path}`)]
      }
      case 'wait': {
        const { label } = event
        const [which, option] = label === undefined ? ['', ''] : [` ${label}`, ` --label ${label}`]
        const more = `for a worker${which} that joins: ${this.#join}${option}`
        return [endLine('yellow', 'waiting', target, more)]
      }
      case 'refuse': {
        const why = `worker ${event.worker}: ${firstLineOf(event.error)}`
        return [endLine('yellow', 'refused', target, why)]
      }
      case 'lost':
        return [endLine('yellow', 'lost', target, 'its worker ended: called again')]
      case 'skip':
        return [endLine('yellow', 'skipped', target, `${event.because} failed`)]
      default:
        return type satisfies never
    }
  }
}

function branchedLine(target: string, { count, made }: Branched, ms: number): Line {
  if (made === 0) return endLine('dim', 'found', target, `${count} branches`)
  return endLine('green', 'made', target, `${made} of ${count} branches, ${msText(ms)}`)
}

/** Returns the line of a target that has ended. */
function endLine(color: Color, state: string, target: string, more = ''): Line {
  return [{ color, text: state.padEnd('skipped'.length) }, ` ${target}${more && `  ${more}`}`]
}

/** Writes a length of time in ms, in ms or in seconds. */
export function msText(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`
}

/** Texts for people that say what comes of a failure, where the run may end well. */
const comesOf: Readonly<Record<FailureMode, string>> = {
  stop: '',
  continue: '',
  null: 'counts as null',
  trim: 'left out',
}

function firstLineOf(error: unknown): string {
  return errorRecordOf(error).message.split('\n', 1).join()
}

/** Returns an event with its error as JSON has it. */
function eventJson(event: FlowEvent): object {
  return 'error' in event ? { ...event, error: errorRecordOf(event.error) } : event
}
