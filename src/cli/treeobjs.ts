/** The commands on treeobjs and blobs. See rfc/6, rules 30 to 34. */

import { pageMax, type ReadScope } from '../api/kvs.js'
import type { Store } from '../api/store.js'
import { parseJson } from '../base/json.js'
import { blobSizeMax } from '../blob/blob.js'
import { TailraceError } from '../error.js'
import { atOneRoot } from '../store/at-one-root.js'
import type { TreeobjJson } from '../tree/json.js'
import { toJson } from '../wire/bytes.js'
import { argument, defined, type Invocation, isStdin } from './invocation.js'
import { leaseGuards } from './lease-guard.js'
import { withStore } from './session.js'
import { fileChunks, readAll, stdinChunks } from './stdin.js'
import { ValueOutput } from './value-output.js'

/** Bytes of a treeobj that is read from a file. */
const treeobjSizeMax = 12 * 1024 * 1024

export async function show(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const { options, stdout } = invocation
  const scope = defined({ namespace: options.text('namespace'), at: options.at('at') })
  return withStore(invocation, async (store) => {
    await stdout.json(await atOneRoot(() => whole(store, key, scope)))
    return undefined
  })
}

/** All pages of a log at one root, as one. */
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

export async function put(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const { options, stdout } = invocation
  const text = await readAll(await source(invocation, 1), treeobjSizeMax, 'use cp')
  const treeobj = parseJson(text, 'the treeobj')
  const dangling = options.flag('dangling') ? { dangling: true } : {}
  return withStore(invocation, async (store) => {
    const scope = defined({ namespace: options.text('namespace') })
    const op = { op: 'treeobj', key, treeobj, ...dangling } as const
    const committed = await store.commit({ guards: leaseGuards(invocation), ops: [op] }, scope)
    if (options.flag('json')) await stdout.json(committed)
    return undefined
  })
}

export async function getBlob(invocation: Invocation): Promise<undefined> {
  const ref = argument(invocation, 0)
  return withStore(invocation, async (store) => {
    const bytes = await store.blobs.load(ref)
    if (!bytes) throw new TailraceError('ENOENT', `there is no blob ${ref}`)
    if (invocation.options.flag('json')) {
      await invocation.stdout.json({ ref, data: toJson(bytes) })
      return undefined
    }
    const force = invocation.options.flag('force')
    const output = new ValueOutput(invocation.stdout, { force })
    await output.write(bytes)
    await output.end()
    return undefined
  })
}

export async function putBlob(invocation: Invocation): Promise<undefined> {
  const { options, stdout } = invocation
  const bytes = await readAll(await source(invocation, 0), blobSizeMax, 'use put')
  return withStore(invocation, async (store) => {
    const ref = await store.blobs.store(bytes)
    if (options.flag('json')) await stdout.json({ ref })
    else await stdout.line(ref)
    return undefined
  })
}

async function source(invocation: Invocation, index: number): Promise<AsyncIterable<Uint8Array>> {
  return isStdin(invocation, index) ? stdinChunks() : fileChunks(argument(invocation, index))
}

function missing(key: string): TailraceError {
  return new TailraceError('ENOENT', `there is no key "${key}"`)
}
