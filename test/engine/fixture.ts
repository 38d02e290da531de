/** What engine tests are made of: a clock by hand, blobs, roots and commits that are sent until their
 *  outcome is known. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Blob } from '../../src/blob/blob.js'
import { hashBlob } from '../../src/blob/hash.js'
import type { Engine, Head, Outcome, Part, Root } from '../../src/engine/engine.js'
import { openTables } from '../../src/engine/lmdb.js'

/** Tries of one commit: more than `faultsInRowMax`. */
const triesMax = 8

export function blobOf(content: string | Uint8Array): Blob {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content
  return { ref: hashBlob(bytes), bytes }
}

/** A root of a test: it names its first blob. */
export function rootOf(seq: number, tx: string, blob: Blob, time = 1_700_000_000_000): Root {
  return { seq, ref: blob.ref, tx, time, epoch: 0 }
}

/** Creates a namespace with root 0 and its one blob. */
export function make(engine: Engine, name: string, incarnation = `${name}-1`): Promise<Head> {
  const blob = blobOf(`${incarnation} root 0`)
  const namespace = { name, incarnation, owner: 'test', created: 1_700_000_000_000 }
  return engine.create(namespace, rootOf(0, `${incarnation}/0`, blob), [blob])
}

/** The part that follows a head, with one blob named after its tx. */
export function next(head: Head, tx: string, time?: number): Part {
  const blob = blobOf(`blob of ${tx}`)
  return {
    namespace: head.namespace.name,
    incarnation: head.namespace.incarnation,
    expected: head.revision,
    root: rootOf(head.root.seq + 1, tx, blob, time),
    blobs: [blob],
  }
}

/** Sends a part until its outcome is known, as every caller of an engine has to. */
export async function settle(engine: Engine, part: Part): Promise<Outcome> {
  let outcome: Outcome | undefined
  for (let tries = 0; tries < triesMax; tries++) {
    ;[outcome] = await engine.commit([part])
    if (outcome?.status === 'applied') return outcome
    if (outcome?.status === 'conflict') {
      const { head } = outcome
      if (head?.root.tx !== part.root.tx) return outcome
      return { status: 'applied', revision: head.revision }
    }
    if (outcome?.error.code !== 'ETIMEDOUT') break
  }
  if (!outcome) throw new Error('an engine answers every part')
  return outcome
}

/** Applies one more root and gives the new head. Throws where it was not applied. */
export async function advance(
  engine: Engine,
  head: Head,
  tx: string,
  time?: number,
): Promise<Head> {
  const part = next(head, tx, time)
  const outcome = await settle(engine, part)
  if (outcome.status !== 'applied') throw new Error(`${tx}: ${JSON.stringify(outcome)}`)
  return { namespace: head.namespace, root: part.root, revision: outcome.revision }
}

/** The blobs of one root of a test, the same in every process: small, packed, and at times bare. */
export function blobsAt(name: string, seq: number): Blob[] {
  const small = blobOf(`${name} ${seq}`)
  const middle = blobOf(`${name} ${seq} `.repeat(200))
  return seq % 4 === 0 ? [small, middle, blobOf(`${name} ${seq} `.repeat(4_000))] : [small, middle]
}

/** As `advance`, with blobs of the caller's; the root names the first. */
export async function advanceWith(
  engine: Engine,
  head: Head,
  tx: string,
  blobs: readonly Blob[],
): Promise<Head> {
  const [first] = blobs
  if (!first) throw new Error('a root names a blob')
  const part = { ...next(head, tx), root: rootOf(head.root.seq + 1, tx, first), blobs }
  const outcome = await settle(engine, part)
  if (outcome.status !== 'applied') throw new Error(`${tx}: ${JSON.stringify(outcome)}`)
  return { namespace: head.namespace, root: part.root, revision: outcome.revision }
}

/** A directory under the system's temporary one, removed at the end of its scope. */
export async function temporaryDirectory(): Promise<{
  readonly path: string
  readonly [Symbol.asyncDispose]: () => Promise<void>
}> {
  const path = await mkdtemp(join(tmpdir(), 'tailrace-engine-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

export async function historyOf(engine: Engine, name: string, after = -1): Promise<string[]> {
  return (await collect(engine.history(name, after))).map(({ tx }) => tx)
}

/** The code of the error that a promise rejects with. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'no error'
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error)
  }
}

/** Opens the tables of a new store. `close` also removes them. */
export async function openTestTables() {
  const directory = await temporaryDirectory()
  const tables = await openTables(directory.path)
  const close = async () => {
    await tables.close()
    await directory[Symbol.asyncDispose]()
  }
  return { tables, close }
}
