/** Every read of a store compared with what a tree of the model says. See kvs-model.ts. */

import { expect } from 'vitest'
import type { Kvs, ReadScope } from '../../src/api/kvs.js'
import { isCode } from '../../src/error.js'
import { type Dir, type Leaf, locate, type Node, nameOf, Refused } from './kvs-model.js'

export async function readsOf(kvs: Kvs, tree: Dir, scope: ReadScope): Promise<void> {
  const nodes = [...flat(tree)]
  const { entries } = await kvs.list('', { ...scope, recursive: true })
  expect(entries.map(({ name, type }) => `${name} ${type}`)).toEqual(
    nodes.map(([name, node]) => `${name} ${typeOf(node)}`),
  )
  expect((await kvs.stat('', scope))?.size).toBe(sizeOf(tree))
  const found: unknown[] = []
  const expected: unknown[] = []
  for (const [key, node] of nodes) {
    found.push([key, await statOf(kvs, key, node, scope)])
    expected.push([key, expectedStat(node)])
    const target = follow(tree, key)
    const got = await kvs.get(key, scope).then(
      (bytes) => bytes && Buffer.from(bytes).toString(),
      (error: unknown) => {
        if (isCode(error, 'ELOOP') || isCode(error, 'EISDIR')) return error.code
        throw error
      },
    )
    found.push([key, got])
    expected.push([key, target === 'ELOOP' ? target : textOf(target)])
    if (node.type !== 'log' || scope.at !== undefined) continue
    found.push([key, await streamOf(kvs, key, node, scope)])
    expected.push([key, node.blobs.map((text, index) => `${index} ${text}`).slice(node.base)])
  }
  // Compared once: an expectation for each key took a fifth of the time.
  expect(found).toEqual(expected)
  const some = nodes.filter(([, { type }]) => type === 'val' || type === 'log').slice(0, 5)
  const many = await kvs.readMany([...some.map(([key]) => key), 'not/there'], scope)
  expect(many.values.map((bytes) => bytes && Buffer.from(bytes).toString())).toEqual([
    ...some.map(([, node]) => textOf(node)),
    undefined,
  ])
}

/** Returns what a store tells of a key, but for what the model does not know. */
async function statOf(kvs: Kvs, key: string, node: Node, scope: ReadScope): Promise<unknown> {
  const stat = await kvs.stat(key, { ...scope, nofollow: true })
  const { type, target, count, size, sealed, base } = stat ?? {}
  if (node.type === 'link') return [type, target]
  return node.type === 'log' ? [type, count, size, sealed, base?.count ?? 0] : [type]
}

function expectedStat(node: Node): unknown {
  const type = typeOf(node)
  if (node.type === 'link') return [type, node.target]
  if (node.type !== 'log') return [type]
  return [type, node.blobs.length, node.blobs.join('').length, node.sealed, node.base]
}

/** Returns the blobs of a log with their indices, as a watch from the oldest blob that is left to the newest gives
 *  them. For where roots are read, not the past. */
async function streamOf(
  kvs: Kvs,
  key: string,
  node: Extract<Leaf, { readonly type: 'log' }>,
  { namespace }: ReadScope,
): Promise<readonly string[]> {
  const blobs: string[] = []
  const scope = namespace === undefined ? {} : { namespace }
  for await (const event of kvs.watch(key, { mode: 'append', from: node.base, ...scope })) {
    if (event.type !== 'append') break
    blobs.push(`${event.index} ${Buffer.from(event.data).toString()}`)
  }
  return blobs
}

/** `added KEY`, `removed KEY`, `changed KEY`, sorted; of directories those that came, went, or became one. */
export function differences(before: Dir, after: Dir): string[] {
  const [old, now] = [new Map(flat(before)), new Map(flat(after))]
  const changes: string[] = []
  for (const key of new Set([...old.keys(), ...now.keys()])) {
    const [one, other] = [old.get(key), now.get(key)]
    if (!one) changes.push(`added ${key}`)
    else if (!other) changes.push(`removed ${key}`)
    else if (one.type !== 'dir' || other.type !== 'dir') {
      if (nameOf(one) !== nameOf(other)) changes.push(`changed ${key}`)
    }
  }
  return changes.sort()
}

/** Every key of a tree, parents before what is in them. */
export function keysIn(tree: Dir): string[] {
  return [...flat(tree)].map(([key]) => key)
}

export async function keysOf(kvs: Kvs, namespace: string): Promise<string[]> {
  const { entries } = await kvs.list('', { namespace, recursive: true })
  return entries.map(({ name }) => name)
}

/** As it stands: links are not followed. */
export function nodeIn(tree: Dir, key: string): Node | undefined {
  return new Map(flat(tree)).get(key)
}

function* flat(dir: Dir, prefix = ''): Iterable<[string, Node]> {
  for (const [name, node] of [...dir.entries].sort(([a], [b]) => (a < b ? -1 : 1))) {
    yield [prefix + name, node]
    if (node.type === 'dir') yield* flat(node, `${prefix}${name}/`)
  }
}

function follow(tree: Dir, key: string): Node | 'ELOOP' | undefined {
  try {
    return locate(tree, key, true).node
  } catch (error) {
    if (error instanceof Refused) return 'ELOOP'
    throw error
  }
}

function typeOf(node: Node): string {
  if (node.type === 'log') return 'valref'
  return node.type === 'link' ? 'symlink' : node.type
}

function textOf(node: Node | undefined): string | undefined {
  if (node?.type === 'dir') return 'EISDIR'
  if (node?.type === 'log') return node.blobs.slice(node.base).join('')
  return node?.type === 'val' ? node.text : undefined
}

function sizeOf(node: Node): number {
  if (node.type !== 'dir') return node.type === 'link' ? 0 : (textOf(node)?.length ?? 0)
  return [...node.entries.values()].reduce((sum, child) => sum + sizeOf(child), 0)
}
