/** The schedule of a run: which step is looked for next, and which is called next. See rfc/24, rules 5
 *  to 7. A ready step goes through two stages: a look whether its result is there already, of which
 *  many run at once, and, if it is not, its call, which takes one of the `concurrency` places and what
 *  the target needs. A run that looks for nothing has the second stage only.
 *  Invariant: a call that can begin waits for nothing, and what waits for a resource is touched only
 *  when that resource is given back. Pure: no promise, no clock. */

import { invalid } from '../base/shape.js'
import type { Step } from './graph.js'
import { Heap } from './heap.js'
import type { TargetRecord } from './target.js'

/** The bounds of a run. */
export type ScheduleBounds = {
  /** The most calls at the same time. It may change while the run goes on, before an answer. */
  readonly concurrency: number
  /** The amount that there is of each resource. */
  readonly limits: { readonly [resource: string]: number }
  /** The most looks at the same time; 0 for a run without looks. */
  readonly looksMax: number
  /** The places for targets with a label. Default: a label means nothing. */
  readonly labels?: LabelPlaces
}

/** The places for targets with a label. They may change while the run goes on; see `placesChanged`. */
export type LabelPlaces = {
  /** False if there can never be a place. */
  readonly isKnown: (label: string) => boolean
  /** Returns the most calls at the same time. */
  readonly placesOf: (label: string) => number
}

/** The targets of one label. */
type Labelled = {
  readonly label: string
  calling: number
  /** The groups that wait for a place. */
  waiting: Group[]
  /** True once it was told that there is no place. */
  isTold: boolean
}

type Resource = {
  readonly limit: number
  free: number
  /** The groups that wait for it, the least amount first. */
  readonly waiting: Heap<Need & { readonly group: Group }>
}

type Need = { readonly resource: Resource; readonly amount: number }

/** The ready steps that have one label, and need the same of each resource. */
type Group = {
  readonly needs: readonly Need[]
  readonly labelled: Labelled | undefined
  readonly steps: Heap<Step>
  /** True while it waits for a resource, or for a place of its label. */
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
  readonly #labels = new Map<string, Labelled>()
  /** The number of steps that wait for their calls. */
  #waiting = 0
  /** True once it was told that there is no place at all. */
  #isTold = false
  #isStopped = false

  constructor(bounds: ScheduleBounds) {
    this.#bounds = bounds
    for (const [name, limit] of Object.entries(bounds.limits)) {
      const waiting = new Heap<Need & { readonly group: Group }>((a, b) => a.amount < b.amount)
      this.#resources.set(name, { limit, free: limit, waiting })
    }
  }

  /** True if steps wait for their calls. */
  get hasWaiting(): boolean {
    return this.#waiting > 0
  }

  /** Makes a target known before one of its steps is added. Throws EINVAL if it needs more of a resource
   *  than there is, or a label that there is never a place for. */
  admit(target: TargetRecord): void {
    const { name, needs } = target
    const key = this.#keyOf(target)
    if (key === undefined || this.#groups.has(key)) return
    const labelled = this.#labelledOf(target)
    const resolved = (needs?.amounts ?? []).map(([resource, amount]) => {
      const limited = this.#resources.get(resource)
      if (limited && amount <= limited.limit) return { resource: limited, amount }
      const limit = limited ? `${limited.limit} of it` : 'no limit of it'
      throw invalid(
        `target ${name} needs ${amount} of ${JSON.stringify(resource)}: the run has ${limit}`,
      )
    })
    const steps = new Heap(isBefore)
    this.#groups.set(key, { needs: resolved, labelled, steps, isWaiting: false })
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
    this.#waiting++
    const group = this.#groupOf(step.target)
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
      const group = this.#groupOf(step.target)
      if (group && !this.#takeFrom(group, step)) continue
      this.#calling++
      this.#waiting--
      return step
    }
  }

  /** Ends a call, and gives back what it took. */
  endCall({ target }: Step): void {
    this.#calling--
    const group = this.#groupOf(target)
    if (group?.labelled) {
      group.labelled.calling--
      this.#offerAll(group.labelled)
    }
    for (const { resource, amount } of group?.needs ?? []) {
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

  /** Takes into account that there may be more places, or fewer. */
  placesChanged(): void {
    for (const labelled of this.#labels.values()) {
      if ((this.#bounds.labels?.placesOf(labelled.label) ?? 0) > 0) labelled.isTold = false
      this.#offerAll(labelled)
    }
  }

  /** Returns steps that wait since there is no place at all, or none of their label: one for each label,
   *  once until there is one again. REQUIRES: no call can begin now. */
  takeStranded(): readonly Step[] {
    if (this.#isStopped) return []
    const stranded: Step[] = []
    if (this.#bounds.concurrency > 0) this.#isTold = false
    else if (this.#waiting > 0 && !this.#isTold) {
      this.#isTold = true
      const first = this.#firstCall()
      if (first) stranded.push(first)
      const labelled = first && this.#groupOf(first.target)?.labelled
      if (labelled) labelled.isTold = true
    }
    for (const labelled of this.#labels.values()) {
      const hasPlaces = (this.#bounds.labels?.placesOf(labelled.label) ?? 0) > 0
      const first = labelled.waiting[0]?.steps.first
      if (!hasPlaces && first && !labelled.isTold) stranded.push(first)
      labelled.isTold = !hasPlaces && (labelled.isTold || first !== undefined)
    }
    return stranded
  }

  /** Lets nothing more begin. */
  stop(): void {
    this.#isStopped = true
  }

  /** Returns the step that would be called first. */
  #firstCall(): Step | undefined {
    for (;;) {
      const { first } = this.#calls
      const group = first && this.#groupOf(first.target)
      if (!group || (!group.isWaiting && group.steps.first === first)) return first
      this.#calls.take()
    }
  }

  #groupOf(target: TargetRecord): Group | undefined {
    const key = this.#keyOf(target)
    return key === undefined ? undefined : this.#groups.get(key)
  }

  /** Returns the key of a target's group; undefined if it needs nothing. */
  #keyOf({ needs, label }: TargetRecord): string | undefined {
    if (label === undefined || !this.#bounds.labels) return needs?.key
    return `${label} ${needs?.key ?? ''}`
  }

  #labelledOf({ name, label }: TargetRecord): Labelled | undefined {
    const { labels } = this.#bounds
    if (label === undefined || !labels) return undefined
    const known = this.#labels.get(label)
    if (known) return known
    if (!labels.isKnown(label)) {
      throw invalid(
        `target ${name} is for workers with the label ${label}, and the run has none: give it some, by ` +
          'openWorkers({ labels })',
      )
    }
    const made: Labelled = { label, calling: 0, waiting: [], isTold: false }
    this.#labels.set(label, made)
    return made
  }

  #offerAll(labelled: Labelled): void {
    const { waiting } = labelled
    labelled.waiting = []
    for (const group of waiting) {
      group.isWaiting = false
      this.#offer(group)
    }
  }

  /** Takes a step of a group, and what it needs. Returns false if it is not the first one, or has to
   *  wait. */
  #takeFrom(group: Group, step: Step): boolean {
    if (group.isWaiting || group.steps.first !== step) return false
    const { labelled } = group
    if (labelled && labelled.calling >= (this.#bounds.labels?.placesOf(labelled.label) ?? 0)) {
      group.isWaiting = true
      labelled.waiting.push(group)
      return false
    }
    const short = group.needs.find(({ resource, amount }) => amount > resource.free)
    if (short) {
      group.isWaiting = true
      short.resource.waiting.push({ ...short, group })
      return false
    }
    group.steps.take()
    if (labelled) labelled.calling++
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
