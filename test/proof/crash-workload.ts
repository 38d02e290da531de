/** A known list of things to do to a store, and what it then holds: what a child does while its writes
 *  are recorded, and what its disk is compared with. Equal seeds give equal lists.
 *  Invariant: transactions of a namespace are issued in the order of the list, so that the n-th that
 *  succeeds has seq n. */

import { mulberry32 } from '../engine/flaky.js'

export type CrashStep =
  | { readonly type: 'commit'; readonly namespace: string; readonly ops: readonly CrashOp[] }
  /** Nothing else is under way. */
  | { readonly type: 'create'; readonly namespace: string }
  | { readonly type: 'remove'; readonly namespace: string }
  /** Lets go of all but a few roots, so that a collection finds something to free. */
  | { readonly type: 'configure'; readonly namespace: string }
  /** Frees what no root needs; changes nothing that can be read. */
  | { readonly type: 'collect' }
  /** A put of a stream, alone: its blobs are stored before it is committed. */
  | {
      readonly type: 'stream'
      readonly namespace: string
      readonly key: string
      readonly size: number
    }

export type CrashOp =
  | { readonly op: 'put' | 'append'; readonly key: string; readonly value: Buffer }
  | { readonly op: 'unlink'; readonly key: string; readonly recursive: true }

/** What a child tells once a step is acknowledged: its place in the list. */
export type CrashAck = number

const keys = ['a', 'b', 'dir/c', 'dir/d', 'dir/deep/e']
const logs = ['log', 'dir/log']
/** Around what is inline, packed, a record of its own, and more than one blob. */
const sizes = [0, 40, 200, 300, 3_000, 17_000]

/** The roots of `primary` that stay readable. */
export const retainedCount = 11

/** `collects`, of 1: steps that are collections, beside large values that are replaced. */
export function crashSteps(seed: number, count: number, collects = 0.04): CrashStep[] {
  const random = mulberry32(seed)
  const one = <T>(list: readonly T[]): T => {
    const item = list[Math.floor(random() * list.length)]
    if (item === undefined) throw new Error('nothing to choose from')
    return item
  }
  const steps: CrashStep[] = [{ type: 'configure', namespace: 'primary' }]
  const largeRate = Math.min(0.3, collects * 0.75)
  const namespaces = ['primary']
  for (let index = 1; index <= count; index++) {
    const dice = random()
    if (dice < 0.03) {
      const namespace = `n${index}`
      steps.push({ type: 'create', namespace })
      namespaces.push(namespace)
    } else if (dice < 0.04 && namespaces.length > 2) {
      steps.push({ type: 'remove', namespace: namespaces.splice(1, 1)[0] ?? '' })
    } else if (dice < 0.04 + collects) {
      steps.push({ type: 'collect' })
    } else if (dice < 0.06 + collects) {
      const size = Math.floor(1_100_000 + random() * 200_000)
      steps.push({ type: 'stream', namespace: 'primary', key: one(keys), size })
    } else {
      const ops = Array.from({ length: 1 + Math.floor(random() * 3) }, (_, at): CrashOp => {
        const value = contents(`${index}.${at} `, dice > 1 - largeRate ? 300_000 : one(sizes))
        const kind = random()
        if (kind < 0.5) return { op: 'append', key: one(logs), value }
        if (kind < 0.92) return { op: 'put', key: one(keys), value }
        return { op: 'unlink', key: one([...keys, 'dir']), recursive: true }
      })
      steps.push({ type: 'commit', namespace: one(namespaces), ops })
    }
  }
  return steps
}

/** Bytes that tell where they belong. */
export function contents(mark: string, size: number): Buffer {
  return Buffer.alloc(size, mark)
}

export type Contents = ReadonlyMap<string, Buffer>

/** What a namespace holds after each of its transactions, from seq 0 on; those that it had while it was
 *  there. */
export type CrashModel = {
  readonly states: ReadonlyMap<string, readonly Contents[]>
  /** The seq that a step gave its namespace. */
  readonly seqs: readonly (number | undefined)[]
}

/** `failed`: steps that changed nothing. REQUIRES: no other step fails: unlink of what is missing and appends
 *  of nothing are fine. */
export function modelOf(
  steps: readonly CrashStep[],
  failed: ReadonlySet<number> = new Set(),
): CrashModel {
  const states = new Map<string, Contents[]>([['primary', [new Map()]]])
  const seqs = steps.map((step, index) => {
    if (failed.has(index)) return undefined
    if (step.type === 'create') states.set(step.namespace, [new Map()])
    if (step.type !== 'commit' && step.type !== 'stream' && step.type !== 'configure')
      return undefined
    const list = states.get(step.namespace) ?? []
    const next = new Map(list.at(-1))
    if (step.type === 'stream') next.set(step.key, contents(`${index} `, step.size))
    else if (step.type === 'commit') for (const op of step.ops) apply(next, op)
    list.push(next)
    return list.length - 1
  })
  return { states, seqs }
}

function apply(state: Map<string, Buffer>, op: CrashOp): void {
  const before = state.get(op.key)
  switch (op.op) {
    case 'put':
      state.set(op.key, op.value)
      break
    case 'append':
      state.set(op.key, before ? Buffer.concat([before, op.value]) : op.value)
      break
    case 'unlink':
      for (const key of [...state.keys()]) {
        if (key === op.key || key.startsWith(`${op.key}/`)) state.delete(key)
      }
      break
    default:
      op satisfies never
  }
}
