/** Parts of failed calls that the cache has not: contents of files, and the branches of a `map` or
 *  `cross`. See rfc/27, rule 1.
 *  Invariant: a part is named by its hash, and goes by itself. Nothing is stored unless a call fails. */

import { readFile, stat } from 'node:fs/promises'
import { readKeysMax } from '../api/kvs.js'
import { unless } from '../error.js'
import { hashOfBranches } from './action.js'
import { entriesOf, isDirectoryPath, packEntries } from './file-input.js'
import type { Step } from './graph.js'
import { madeRecords } from './made.js'
import { hexHashOf } from './modules.js'
import { isBranches, type KeptResult } from './packed-results.js'
import { type FlowPlace, namespaceOfFlow } from './place.js'

/** The time for which parts are kept, in ms. */
const partsTtlMs = 30 * 24 * 3_600_000
/** The largest size of a file that is kept, and of all files of a call, in bytes. */
const [filePartSizeMax, partsSizeMax] = [16 * 1024 * 1024, 64 * 1024 * 1024]
/** The largest number of branches of one result that are kept. */
const branchesMax = 100_000
/** The size of a hash, and of the id of an action, in bytes. */
const hashSize = 32

/** The result of a branch: its hash, and the id of its action; none for a null. */
export type BranchResult = { readonly hash: string; readonly id?: string }

/** Stores parts of the failed calls of one run. Mutable: it remembers what it has stored. */
export class FailedParts {
  readonly #place: FlowPlace
  readonly #stored = new Set<string>()

  constructor(place: FlowPlace) {
    this.#place = place
  }

  /** Stores the parts of a call that failed. Never throws: without them its record is told with parts
   *  that are missing. */
  async keep({ target }: Step, inputs: readonly KeptResult[]): Promise<void> {
    try {
      let left = partsSizeMax
      for (const input of target.files) {
        for (const path of await this.#filesOf(input)) {
          const { size } = await stat(path)
          if (size > Math.min(left, filePartSizeMax)) continue
          left -= size
          const bytes = await readFile(path)
          await this.#put(partKey(hexHashOf(bytes)), () => bytes)
        }
      }
      for (const { hash, packed } of inputs) {
        if (!isBranches(packed) || packed.length > branchesMax) continue
        await this.#put(branchesKey(hash), () => packBranches(packed))
      }
    } catch {
      // The failure of the call is what counts.
    }
  }

  /** Returns the files of an input, and stores the entries of a directory. */
  async #filesOf(input: string): Promise<readonly string[]> {
    if (!isDirectoryPath(input)) return [input]
    const entries = await entriesOf(input)
    const bytes = packEntries(entries)
    await this.#put(partKey(hexHashOf(bytes)), () => bytes)
    const isFile = (kind: string) => kind === 'file' || kind === 'executable'
    return entries.flatMap(([path, kind]) => (isFile(kind) ? [input + path] : []))
  }

  async #put(key: string, bytes: () => Uint8Array): Promise<void> {
    if (this.#stored.has(key)) return
    const { store, flow } = this.#place
    await store.put(key, bytes(), { namespace: namespaceOfFlow(flow), ttl: partsTtlMs })
    this.#stored.add(key)
  }
}

function partKey(hash: string): string {
  return `parts/${hash}`
}

function branchesKey(hash: string): string {
  return `branches/${hash}`
}

function packBranches(branches: readonly BranchResult[]): Uint8Array {
  const bytes = Buffer.alloc(branches.length * 2 * hashSize)
  for (const [at, { hash, id = '' }] of branches.entries()) {
    bytes.write(hash, 2 * at * hashSize, 'hex')
    bytes.write(id, (2 * at + 1) * hashSize, 'hex')
  }
  return bytes
}

function unpackBranches(bytes: Uint8Array): readonly BranchResult[] {
  const hex = Buffer.from(bytes).toString('hex')
  const width = 2 * hashSize
  return Array.from({ length: Math.floor(bytes.length / width) }, (_, at) => {
    const hash = hex.slice(2 * at * width, (2 * at + 1) * width)
    const id = hex.slice((2 * at + 1) * width, (2 * at + 2) * width)
    return /^0*$/.test(id) ? { hash } : { hash, id }
  })
}

/** Returns the content of a file by its hash; undefined if it was not kept. */
export async function partOf(
  { store, flow }: FlowPlace,
  hash: string,
): Promise<Uint8Array | undefined> {
  const scope = { namespace: namespaceOfFlow(flow) }
  return store.get(partKey(hash), scope).catch(unless('ENONS'))
}

/** Returns the results of the branches of a `map` or `cross` by the hash of its result: those that were
 *  kept, else those that were made last, if they have that hash together. */
export async function branchesOf(
  place: FlowPlace,
  name: string,
  hash: string | undefined,
): Promise<readonly BranchResult[] | undefined> {
  const { store, flow } = place
  const scope = { namespace: namespaceOfFlow(flow) }
  const bytes = hash && (await store.get(branchesKey(hash), scope).catch(unless('ENONS')))
  if (bytes) return unpackBranches(bytes)
  const made = await branchesMade(place, name)
  const isThat = hash === undefined || hash === hashOfBranches(made.map((each) => each.hash))
  return isThat ? made : undefined
}

/** Returns the results of the branches of a `map` that were made last, up to the first one that never
 *  was. */
async function branchesMade(place: FlowPlace, name: string): Promise<readonly BranchResult[]> {
  const made: BranchResult[] = []
  while (made.length < branchesMax) {
    const names = Array.from({ length: readKeysMax }, (_, at) => `${name}[${made.length + at}]`)
    const records = await madeRecords(place, names)
    const end = records.indexOf(undefined)
    const there = end < 0 ? records : records.slice(0, end)
    made.push(...there.flatMap((record) => (record ? [{ hash: record.hash, id: record.id }] : [])))
    if (end >= 0) break
  }
  return made
}
