/** The writes and syncs of a run on all files of a store, and every disk that a power failure could have left
 *  of them: the store opens, what was acknowledged is there, and each namespace is as it was after one of its
 *  transactions, whole. See rfc/4, rfc/16. */

import { mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import type { Kvs } from '../../src/api/kvs.js'
import { toTailraceError } from '../../src/error.js'
import { open } from '../../src/open.js'
import { mulberry32 } from '../engine/flaky.js'
import { bundle } from '../support/bundle.js'
import { type CrashImage, crashImages, type DiskFiles } from './crash-images.js'
import {
  type Contents,
  type CrashModel,
  type CrashStep,
  crashSteps,
  modelOf,
} from './crash-workload.js'
import { type DiskCall, type Traced, trace } from './strace.js'

export type WriteOrderOptions = {
  readonly seed: number
  readonly steps: number
  /** Steps under way at once. */
  readonly underWay: number
  /** Images with some of the sectors at each moment. */
  readonly samples: number
  /** Of 1: images that are tried. */
  readonly share: number
  /** Of 1: steps that are collections. */
  readonly collects?: number
  /** Faults (see strace.ts) of a child that opens a store which is there, unless `fresh`, and opens it again
   *  at the end. */
  readonly inject?: readonly string[]
  readonly fresh?: boolean
}

export type WriteOrderFindings = {
  readonly problems: readonly string[]
  readonly images: number
  readonly traced: Traced
}

const problemsMax = 20

export async function tryWriteOrder(options: WriteOrderOptions): Promise<WriteOrderFindings> {
  const { seed, steps, samples, share, underWay, collects = 0.08 } = options
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'tailrace-order-')))
  try {
    await using programs = await bundle({ child: 'test/proof/crash-child.ts' })
    const data = join(directory, 'made', 'data')
    const isThere = options.inject !== undefined && !options.fresh
    const initial = isThere ? await makeStore(data) : undefined
    const traced = await trace({
      args: [
        programs.files.child,
        data,
        join(directory, 'told'),
        ...[seed, steps, underWay, collects].map(String),
        ...(options.inject ? ['again'] : []),
      ],
      disk: join(data, 'store'),
      passing,
      told: join(directory, 'told'),
      ...(options.inject
        ? { inject: options.inject, environment: { UV_THREADPOOL_SIZE: '1' } }
        : {}),
    })
    const problems = unsyncedDirectories(traced.calls, directory)
    if (traced.code !== 0 && !options.inject)
      problems.push(`the child ended with ${traced.code}: ${traced.stderr}`)
    const list = crashSteps(seed, steps, collects)
    const model = modelOf([...list, after], failedIn(traced.calls))
    const random = mulberry32(seed)
    let images = 0
    for (const image of crashImages(traced.calls, samples, random, initial)) {
      if (random() >= share) continue
      images++
      problems.push(...(await tryImage(directory, image, list, model)))
      if (problems.length > problemsMax) break
    }
    return { problems, images, traced }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

/** Files of which no promise depends: who has the store open, and what only takes space. */
export const passing = /^(lock\.mdb|owner\.lock|reserve|probe-\d+)$/

/** The files of a store that was opened and closed once. */
async function makeStore(directory: string): Promise<DiskFiles> {
  const store = await open({ directory })
  await store[Symbol.asyncDispose]()
  const path = join(directory, 'store')
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  const files = new Map<string, Buffer>()
  for (const entry of entries) {
    if (!entry.isFile() || passing.test(entry.name)) continue
    const file = join(entry.parentPath, entry.name)
    files.set(file, await readFile(file))
  }
  return files
}

/** A child puts this at the end where a step has failed. */
const after: CrashStep = {
  ...{ type: 'commit', namespace: 'primary' },
  ops: [{ op: 'put', key: 'after', value: Buffer.from('x') }],
}

/** The steps that certainly changed nothing. */
function failedIn(calls: readonly DiskCall[]): Set<number> {
  const failed = new Set<number>()
  for (const call of calls) {
    if (call.type !== 'told') continue
    for (const [, step] of call.text.matchAll(/^failed (\d+) (?!EUNKNOWN)/gm))
      failed.add(Number(step))
  }
  return failed
}

/** A directory that was made is there after a crash only if the one above it was synced. */
function unsyncedDirectories(calls: readonly DiskCall[], above: string): string[] {
  const waiting = new Set<string>()
  for (const call of calls) {
    if (call.type === 'mkdir' && call.path.startsWith(above)) waiting.add(call.path)
    if (call.type === 'synced' && call.ok) {
      for (const path of waiting) if (dirname(path) === call.path) waiting.delete(path)
    }
    if (call.type !== 'told') continue
    if (call.text.startsWith('refused')) return []
    break
  }
  return [...waiting].map((path) => `${path} was made, and the directory above it not synced`)
}

async function tryImage(
  above: string,
  image: CrashImage,
  steps: readonly CrashStep[],
  model: CrashModel,
): Promise<string[]> {
  const directory = join(above, 'image')
  await mkdir(join(directory, 'store'), { recursive: true })
  for (const [path, bytes] of image.files) {
    const copy = join(directory, relative(join(above, 'made', 'data'), path))
    await mkdir(dirname(copy), { recursive: true })
    await writeFile(copy, bytes)
  }
  const problems: string[] = []
  try {
    await using store = await open({ directory })
    problems.push(...(await compare(store, image, steps, model)))
  } catch (error) {
    problems.push(`the store does not open or read: ${toTailraceError(error)}`)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
  return problems.map((problem) => `${image.name}: ${problem}`)
}

async function compare(
  store: Kvs,
  { told }: CrashImage,
  steps: readonly CrashStep[],
  model: CrashModel,
): Promise<string[]> {
  const problems: string[] = []
  const acknowledged = new Set(told)
  const there = new Set((await store.namespaces.list()).map(({ name }) => name))
  const least = new Map<string, number>(told.length > 0 ? [['primary', 0]] : [])
  for (const line of told) {
    // Each collection may have taken a seq of its own, for the floor of the history.
    const collections = steps.filter(({ type }) => type === 'collect').length
    const seq = Number(/^seen (\d+)$/.exec(line)?.[1] ?? 0) - collections
    least.set('primary', Math.max(least.get('primary') ?? 0, seq))
  }
  for (const [index, step] of steps.entries()) {
    if (!acknowledged.has(`${index}`) || step.type === 'collect') continue
    if (step.type === 'remove') least.delete(step.namespace)
    else least.set(step.namespace, Math.max(least.get(step.namespace) ?? 0, model.seqs[index] ?? 0))
  }
  for (const [index, step] of steps.entries()) {
    if (step.type !== 'remove') continue
    if (acknowledged.has(`${index}`)) {
      if (there.has(step.namespace)) problems.push(`${step.namespace} was removed and is there`)
    } else if (!there.has(step.namespace)) least.delete(step.namespace) // it was on its way out
  }
  for (const [namespace, seq] of least) {
    if (!there.has(namespace)) problems.push(`${namespace} was acknowledged and is not there`)
    else problems.push(...(await compareNamespace(store, namespace, seq, model)))
  }
  for (const namespace of there) {
    const known = model.states.has(namespace)
    if (known && !least.has(namespace) && told.length > 0) {
      problems.push(...(await compareNamespace(store, namespace, 0, model)))
    }
  }
  return problems
}

async function compareNamespace(
  store: Kvs,
  namespace: string,
  least: number,
  model: CrashModel,
): Promise<string[]> {
  const states = model.states.get(namespace) ?? []
  const { seq } = await store.root({ namespace })
  const problems: string[] = []
  // The newest root, and the oldest that is retained near it.
  for (const at of new Set([seq, Math.max(0, seq - 10)])) {
    const held = await contentsOf(store, namespace, at).catch((error: unknown) =>
      toTailraceError(error),
    )
    if (held instanceof Error) {
      if (held.code !== 'ECOMPACTED') problems.push(`${namespace} at ${at}: ${held}`)
      continue
    }
    if (at === seq && held.seq !== seq) problems.push(`${namespace} at ${at} has seq ${held.seq}`)
    const index = states.findLastIndex(
      (state) => differences('', held.contents, state).length === 0,
    )
    if (index < 0) {
      const all = states.map((state) => differences(`${namespace} at ${at}`, held.contents, state))
      problems.push(...(all.sort((a, b) => a.length - b.length)[0] ?? [`${namespace} at ${at}`]))
    } else if (at === seq && index < least)
      problems.push(`${namespace}: transaction ${least} was acknowledged, ${index} is there`)
  }
  return problems
}

function differences(name: string, held: Contents, expected: Contents): string[] {
  return [...new Set([...held.keys(), ...expected.keys()])].flatMap((key) => {
    const [here, there] = [held.get(key), expected.get(key)]
    if (here && there && here.equals(there)) return []
    const sizes = `${here?.length ?? 'no'} bytes where ${there?.length ?? 'none'} should be`
    return [`${name}: ${key} has ${sizes}`]
  })
}

async function contentsOf(store: Kvs, namespace: string, at: number) {
  const { entries, seq } = await store.list('', { namespace, at, recursive: true })
  const contents = new Map<string, Buffer>()
  for (const { name, type } of entries) {
    if (type === 'dir') continue
    contents.set(name, Buffer.from((await store.get(name, { namespace, at })) ?? []))
  }
  return { contents, seq }
}
