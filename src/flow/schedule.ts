/** The schedule of a run: which step is looked for next, and which is called next. See rfc/24, rules 5
 *  to 7. A ready step goes through two stages: a look whether its result is there already, of which
 *  many run at once, and, if it is not, its call, which takes one of the `concurrency` places and what
 *  the target needs. A run that looks for nothing has the second stage only.
 *  Invariant: a call that can begin waits for nothing, and what waits for a resource is touched only
 *  when that resource is given back. Pure: no promise, no clock. */

import { invalid } from '../base/shape.js'
import type { Step } from './graph.js'
import { Heap } from './heap.js'
import type { Needs, TargetRecord } from './target.js'

/** The bounds of a run. */
export type ScheduleBounds = {
  /** The most calls at the same time. It may change while the run goes on, before an answer. */
  readonly concurrency: number
  /** The amount that there is of each resource. */
  readonly limits: { readonly [resource: string]: number }
  /** The most looks at the same time; 0 for a run without looks. */
  readonly looksMax: number
}

type Resource = {
  readonly limit: number
  free: number
  /** The groups that wait for it, the least amount first. */
  readonly waiting: Heap<Need & { readonly group: Group }>
}

type Need = { readonly resource: Resource; readonly amount: number }

/** The ready steps that need the same of each resource. */
type Group = {
  readonly needs: readonly Need[]
  readonly steps: Heap<Step>
  /** True while it waits for a resource. */
  isWaiting: boolean
}

/** The schedule. Mutable; owned by the driver of its run. */
export class Schedule {
  readonly #bounds: ScheduleBounds
  readonly #looks = new Heap(isBefore)
  #looking = 0
  /** The steps without needs, and the first step of each group that does not wait. An entry of a group
   *  means nothing once another step is its first one. */
  readonly #calls = new Heap(isBefore)
  #calling = 0
  readonly #resources = new Map<string, Resource>()
  readonly #groups = new Map<string, Group>()
  #isStopped = false

  constructor(bounds: ScheduleBounds) {
    this.#bounds = bounds
    for (const [name, limit] of Object.entries(bounds.limits)) {
      const waiting = new Heap<Need & { readonly group: Group }>((a, b) => a.amount < b.amount)
      this.#resources.set(name, { limit, free: limit, waiting })
    }
  }

  /** Makes a target known before one of its steps is added. Throws EINVAL if it needs more of a resource
   *  than there is. */
  admit({ name, needs }: TargetRecord): void {
    if (!needs || this.#groups.has(needs.key)) return
    const resolved = needs.amounts.map(([resource, amount]) => {
      const limited = this.#resources.get(resource)
      if (limited && amount <= limited.limit) return { resource: limited, amount }
      const limit = limited ? `${limited.limit} of it` : 'no limit of it'
      throw invalid(
        `target ${name} needs ${amount} of ${JSON.stringify(resource)}: the run has ${limit}`,
      )
    })
    const steps = new Heap(isBefore)
    this.#groups.set(needs.key, { needs: resolved, steps, isWaiting: false })
  }

  /** Adds a step whose inputs are there. REQUIRES: its target was admitted. */
  add(step: Step): void {
    if (this.#bounds.looksMax > 0) this.#looks.push(step)
    else this.addCall(step)
  }

  /** Begins the next look; undefined if none can begin now. */
  takeLook(): Step | undefined {
    if (this.#isStopped || this.#looking === this.#bounds.looksMax) return undefined
    const step = this.#looks.take()
    if (step) this.#looking++
    return step
  }

  /** Ends a look. */
  endLook(): void {
    this.#looking--
  }

  /** Adds a step whose result has to be made. */
  addCall(step: Step): void {
    const group = this.#groupOf(step.target.needs)
    if (!group) {
      this.#calls.push(step)
      return
    }
    group.steps.push(step)
    if (group.steps.first === step) this.#offer(group)
  }

  /** Begins the next call; undefined if none can begin now. */
  takeCall(): Step | undefined {
    if (this.#isStopped || this.#calling >= this.#bounds.concurrency) return undefined
    for (;;) {
      const step = this.#calls.take()
      if (!step) return undefined
      const group = this.#groupOf(step.target.needs)
      if (group && !this.#takeFrom(group, step)) continue
      this.#calling++
      return step
    }
  }

  /** Ends a call, and gives back what it took. */
  endCall({ target }: Step): void {
    this.#calling--
    for (const { resource, amount } of this.#groupOf(target.needs)?.needs ?? []) {
      resource.free += amount
      for (;;) {
        const { first } = resource.waiting
        if (!first || first.amount > resource.free) break
        resource.waiting.take()
        first.group.isWaiting = false
        this.#offer(first.group)
      }
    }
  }

  /** Lets nothing more begin. */
  stop(): void {
    this.#isStopped = true
  }

  #groupOf(needs: Needs | undefined): Group | undefined {
    return needs && this.#groups.get(needs.key)
  }

  /** Takes a step of a group, and what it needs. Returns false if it is not the first one, or has to
   *  wait. */
  #takeFrom(group: Group, step: Step): boolean {
    if (group.isWaiting || group.steps.first !== step) return false
    const short = group.needs.find(({ resource, amount }) => amount > resource.free)
    if (short) {
      group.isWaiting = true
      short.resource.waiting.push({ ...short, group })
      return false
    }
    group.steps.take()
    for (const { resource, amount } of group.needs) resource.free -= amount
    this.#offer(group)
    return true
  }

  /** Lets the first step of a group take part. */
  #offer({ steps: { first }, isWaiting }: Group): void {
    if (first && !isWaiting) this.#calls.push(first)
  }
}

/** True if `a` goes first: the one with the longer path, of equal ones the one that was found first. */
function isBefore(a: Step, b: Step): boolean {
  return a.rank > b.rank || (a.rank === b.rank && a.index < b.index)
}
