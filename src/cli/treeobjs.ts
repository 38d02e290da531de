/** The commands on treeobjs and blobs. See rfc/18, rules 7 to 11. */

import { pageMax, type ReadScope } from '../api/kvs.js'
import type { Store } from '../api/store.js'
import { parseJson } from '../base/json.js'
import { defined } from '../base/shape.js'
import { blobSizeMax } from '../blob/blob.js'
import { TailraceError } from '../error.js'
import { atOneRoot } from '../store/at-one-root.js'
import type { TreeobjJson } from '../treeobj/treeobj.js'
import { toJson } from '../wire/bytes.js'
import { argument, command, commandGroup, flag, inputFile, key } from './command.js'
import { at, force, ifLease, json, jsonLines, namespace, place } from './options.js'
import { atRoot } from './roots.js'
import { withStore } from './session.js'
import { inputChunks, readAll } from './stdin.js'
import { ValueOutput } from './value-output.js'
import { commit } from './write.js'

/** The largest treeobj that is read from a file, in bytes. */
const treeobjSizeMax = 12 * 1024 * 1024

const putTreeobj = command({
  name: 'put',
  summary: 'make a key what a treeobj in a file, or from stdin (-), says',
  parameters: { key: argument('<key>', key), file: argument('<file>', inputFile) },
  options: {
    dangling: flag('--dangling', 'blobs and nodes that it names may be missing'),
    namespace,
    ...ifLease,
    json,
    ...place,
  },
  examples: [
    'tailrace treeobj put copy log.json',
    'tailrace treeobj log | tailrace treeobj put copy -',
  ],
  makesStore: true,
  run: async (call) => {
    const { args, options } = call
    const text = await readAll(await inputChunks(args.file), treeobjSizeMax, 'use cp')
    const treeobj = parseJson(text, 'the treeobj')
    const dangling = options.dangling ? { dangling: true } : {}
    const op = { op: 'treeobj', key: args.key, treeobj, ...dangling } as const
    return withStore(call, (store) => commit(store, call, [op]))
  },
})

export const treeobj = command({
  name: 'treeobj',
  summary: "print a key's treeobj, or store one",
  description:
    'Print what a key names: JSON as RFC 11 of Flux has it, with the refs of all blobs of a log. ' +
    '`treeobj put` takes the same. A key of the name `put` is `/put`.',
  parameters: { key: argument('<key>', key) },
  options: { namespace, at, json: jsonLines, ...place },
  commands: [putTreeobj],
  examples: ['tailrace treeobj build/log', 'tailrace treeobj put copy log.json'],
  run: async (call) => {
    const { args, options, stdout } = call
    const scope = defined({ namespace: options.namespace })
    return withStore(call, async (store) => {
      const at = await atRoot(store, options.at, options.namespace)
      await stdout.json(await atOneRoot(() => whole(store, args.key, { ...scope, ...at })))
    })
  },
})

/** Joins all pages of a log, read at one root, into one treeobj. */
async function whole(store: Store, key: string, scope: ReadScope): Promise<TreeobjJson> {
  const stat = await store.stat(key, { ...scope, nofollow: true })
  if (!stat) throw missing(key)
  const at = scope.at ?? stat.seq
  const pages: TreeobjJson[] = []
  for (let after: number | undefined; ; after = pages.at(-1)?.next) {
    const page = await store.treeobj(key, { ...scope, at, limit: pageMax, ...defined({ after }) })
    if (!page) throw missing(key)
    pages.push(page)
    if (page.next === undefined) break
  }
  const [first, ...others] = pages
  if (!first) throw missing(key)
  return others.length === 0 ? first : joined(first, pages)
}

function joined(first: TreeobjJson, pages: readonly TreeobjJson[]): TreeobjJson {
  const { next: _, more: __, ...rest } = first
  const marked = pages.some((page) => page.more)
  const flagsOf = ({ more, sizes = [] }: TreeobjJson) => more ?? sizes.map(() => false)
  return {
    ...rest,
    data: pages.flatMap(({ data }) => (Array.isArray(data) ? data : [])),
    sizes: pages.flatMap(({ sizes = [] }) => sizes),
    ...(marked && { more: pages.flatMap(flagsOf) }),
  }
}

const getBlob = command({
  name: 'get',
  summary: 'write the bytes of a blob to stdout',
  parameters: { ref: argument('<ref>') },
  options: { force, json, ...place },
  examples: ['tailrace blob get blake3-…'],
  run: async (call) => {
    const { args, options, stdout } = call
    return withStore(call, async (store) => {
      const bytes = await store.blobs.load(args.ref)
      if (!bytes) throw new TailraceError('ENOENT', `there is no blob ${args.ref}`)
      if (options.json) return stdout.json({ ref: args.ref, data: toJson(bytes) })
      const output = new ValueOutput(stdout, { force: options.force })
      await output.write(bytes)
      await output.end()
    })
  },
})

const putBlob = command({
  name: 'put',
  summary: 'store a file, or stdin (-), as a blob and print its ref',
  parameters: { file: argument('<file>', inputFile) },
  options: { json, ...place },
  examples: ['tailrace blob put part.bin', 'echo hello | tailrace blob put -'],
  makesStore: true,
  run: async (call) => {
    const { args, options, stdout } = call
    const bytes = await readAll(await inputChunks(args.file), blobSizeMax, 'use put')
    return withStore(call, async (store) => {
      const ref = await store.blobs.store(bytes)
      if (options.json) await stdout.json({ ref })
      else await stdout.line(ref)
    })
  },
})

export const blob = commandGroup({
  name: 'blob',
  summary: 'load and store blobs by their refs',
  commands: [getBlob, putBlob],
  examples: ['tailrace blob put part.bin', 'tailrace blob get blake3-…'],
})

function missing(key: string): TailraceError {
  return new TailraceError('ENOENT', `there is no key "${key}"`)
}
