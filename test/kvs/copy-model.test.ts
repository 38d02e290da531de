/** Random copies, forks, moves and restores among other ops, in groups as they come, against nested maps:
 *  codes, contents, sizes and the quota agree. See rfc/6, rule 35; rfc/18, rules 1 to 5. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import type { Op } from '../../src/api/transaction.js'
import { systemEnvironment } from '../../src/base/environment.js'
import type { Engine } from '../../src/engine/engine.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { type Code, TailraceError } from '../../src/error.js'
import { openOn } from '../../src/open.js'
import { FlakyEngine } from '../engine/flaky.js'

/** Never changed: an op gives another one. */
type Dir = ReadonlyMap<string, Node>
type Node = Dir | readonly string[]

const quota = 24
const names = ['a', 'b', 'c']
const key = fc
  .array(fc.constantFrom(...names), { minLength: 1, maxLength: 3 })
  .map((parts) => parts.join('/'))
const keyOrRoot = fc.oneof({ weight: 9, arbitrary: key }, { weight: 1, arbitrary: fc.constant('') })
const value = fc.string({ maxLength: 12, unit: fc.constantFrom('x', 'y') })
const flag = fc.boolean()

/** `at` counts back from the newest root that the model knows. */
const op = fc.oneof(
  fc.record({ op: fc.constant('put' as const), key, value }),
  fc.record({ op: fc.constant('append' as const), key, value }),
  fc.record({ op: fc.constant('mkdir' as const), key }),
  fc.record({ op: fc.constant('unlink' as const), key, recursive: flag }),
  fc.record({ op: fc.constant('copy' as const), from: keyOrRoot, key: keyOrRoot, replace: flag }),
  fc.record({
    op: fc.constant('copy' as const),
    from: keyOrRoot,
    key,
    replace: flag,
    at: fc.nat(4),
  }),
  fc.record({ op: fc.constant('move' as const), from: keyOrRoot, key: keyOrRoot, replace: flag }),
  fc.record({ op: fc.constant('fork' as const), from: key, key, count: fc.nat(3) }),
  fc.record({ op: fc.constant('restore' as const), key: keyOrRoot, at: fc.nat(4) }),
)
type ModelOp = typeof op extends fc.Arbitrary<infer T> ? T : never
/** Batches of transactions that are sent at once. */
const history = fc.array(
  fc.array(fc.array(op, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 4 }),
  { maxLength: 8 },
)

class Refused extends Error {
  readonly code: Code
  constructor(code: Code) {
    super(code)
    this.code = code
  }
}

const isDir = (node: Node | undefined): node is Dir => node instanceof Map
const partsOf = (path: string) => path.split('/').filter((part) => part !== '')

function find(tree: Dir, path: string): Node | undefined {
  let node: Node | undefined = tree
  for (const part of partsOf(path)) node = isDir(node) ? node.get(part) : undefined
  return node
}

/** With parents; `node` undefined removes. */
function set(tree: Dir, path: string, node: Node | undefined): Dir {
  const parts = partsOf(path)
  const at = (dir: Dir, depth: number): Dir => {
    const name = parts[depth] ?? ''
    const changed = new Map(dir)
    const child = dir.get(name)
    if (depth === parts.length - 1) {
      if (node) changed.set(name, node)
      else changed.delete(name)
      return changed
    }
    if (!node && !isDir(child)) return dir
    if (child && !isDir(child)) throw new Refused('ENOTDIR')
    return changed.set(name, at(isDir(child) ? child : new Map(), depth + 1))
  }
  if (parts.length > 0) return at(tree, 0)
  if (!isDir(node)) throw new Refused('EISDIR')
  return node
}

function needs(tree: Dir, path: string): void {
  const parts = partsOf(path)
  for (let depth = 1; depth < parts.length; depth++) {
    const above = find(tree, parts.slice(0, depth).join('/'))
    if (above && !isDir(above)) throw new Refused('ENOTDIR')
  }
}

function clear(tree: Dir, path: string, replace: boolean): void {
  needs(tree, path)
  const there = find(tree, path)
  if (isDir(there) && there.size > 0 && !replace) throw new Refused('EISDIR')
}

function apply(tree: Dir, each: ModelOp, older: (at: number) => Dir): Dir {
  const there = find(tree, each.key)
  switch (each.op) {
    case 'put':
      needs(tree, each.key)
      if (isDir(there)) throw new Refused('EISDIR')
      return set(tree, each.key, [each.value])
    case 'append':
      needs(tree, each.key)
      if (isDir(there)) throw new Refused('EISDIR')
      return set(tree, each.key, [...(there ?? []), each.value])
    case 'mkdir':
      needs(tree, each.key)
      if (there && !isDir(there)) throw new Refused('EEXIST')
      return there ? tree : set(tree, each.key, new Map())
    case 'unlink':
      if (isDir(there) && there.size > 0 && !each.recursive) throw new Refused('ENOTEMPTY')
      return there ? set(tree, each.key, undefined) : tree
    case 'copy': {
      const source = find('at' in each ? older(each.at) : tree, each.from)
      if (!source) throw new Refused('ENOENT')
      clear(tree, each.key, each.replace)
      return set(tree, each.key, source)
    }
    case 'fork': {
      const source = find(tree, each.from)
      if (!source) throw new Refused('ENOENT')
      if (isDir(source)) throw new Refused('EISDIR')
      if (each.count > source.length) throw new Refused('EINVAL')
      clear(tree, each.key, false)
      return set(tree, each.key, source.slice(0, each.count))
    }
    case 'move': {
      const from = partsOf(each.from).join('/')
      const source = find(tree, from)
      if (from === '') throw new Refused('EPERM')
      if (!source) throw new Refused('ENOENT')
      needs(tree, each.key)
      if (from === each.key) return tree
      if (each.key.startsWith(`${from}/`)) throw new Refused('EINVAL')
      clear(tree, each.key, each.replace)
      const above = from.startsWith(each.key === '' ? '' : `${each.key}/`)
      return set(above ? tree : set(tree, from, undefined), each.key, source)
    }
    case 'restore': {
      const before = find(older(each.at), each.key)
      if (!before) return there ? set(tree, each.key, undefined) : tree
      needs(tree, each.key)
      return set(tree, each.key, before)
    }
    default:
      return each satisfies never
  }
}

function sizeOf(node: Node): number {
  if (!isDir(node)) return node.join('').length
  return [...node.values()].reduce((sum, child) => sum + sizeOf(child), 0)
}

/** Key to value, directories to `/`. */
function shown(tree: Dir, prefix = ''): Record<string, string> {
  const all: Record<string, string> = {}
  for (const [name, node] of tree) {
    all[prefix + name] = isDir(node) ? '/' : node.join('')
    if (isDir(node)) Object.assign(all, shown(node, `${prefix}${name}/`))
  }
  return all
}

async function held(kvs: Kvs): Promise<Record<string, string>> {
  const { entries } = await kvs.list('/', { recursive: true })
  const all: Record<string, string> = {}
  for (const { name, type } of entries) {
    all[name] = type === 'dir' ? '/' : Buffer.from((await kvs.get(name)) ?? []).toString()
  }
  return all
}

async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call
    return 'ok'
  } catch (error) {
    if (error instanceof TailraceError) return error.code
    throw error
  }
}

async function replay(engine: Engine, batches: readonly (readonly (readonly ModelOp[])[])[]) {
  await using kvs = await openOn(engine)
  await kvs.namespaces.configure('primary', { quota })
  let tree: Dir = new Map()
  const known = [{ seq: (await kvs.root()).seq, tree }]
  for (const batch of batches) {
    const back = (at: number) => known[Math.max(0, known.length - 1 - at)] ?? { seq: 0, tree }
    const sent = batch.map((ops) => {
      const real = ops.map(
        (each) => ('at' in each ? { ...each, at: back(each.at).seq } : each) as Op,
      )
      return codeOf(kvs.commit({ ops: real }))
    })
    const expected = batch.map((ops) => {
      try {
        const after = ops.reduce((now, each) => apply(now, each, (at) => back(at).tree), tree)
        const size = sizeOf(after)
        if (size > quota && size > sizeOf(tree)) return 'EDQUOT'
        tree = after
        return 'ok'
      } catch (error) {
        if (error instanceof Refused) return error.code
        throw error
      }
    })
    expect(await Promise.all(sent)).toEqual(expected)
    expect(await held(kvs)).toEqual(shown(tree))
    expect((await kvs.stat('/'))?.size).toBe(sizeOf(tree))
    known.push({ seq: (await kvs.root()).seq, tree })
  }
}

describe('copies against nested maps', () => {
  it('on a plain engine', async () => {
    await fc.assert(
      fc.asyncProperty(history, (batches) => replay(new MemoryEngine(systemEnvironment), batches)),
      { numRuns: 120 },
    )
  })

  it('on a flaky engine', async () => {
    await fc.assert(
      fc.asyncProperty(history, fc.integer(), (batches, seed) =>
        replay(new FlakyEngine(new MemoryEngine(systemEnvironment), { seed }), batches),
      ),
      { numRuns: 40 },
    )
  })
})
