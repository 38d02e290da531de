/** Random trees with random damage: what is found, and what a repair leaves. See rfc/15. */

import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import type { Op } from '../../src/api/transaction.js'
import { systemEnvironment } from '../../src/base/environment.js'
import type { Blobref } from '../../src/blob/blobref.js'
import { hashBlob } from '../../src/blob/hash.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { checkEngine } from '../../src/fsck/run.js'
import { openOn } from '../../src/open.js'

const environment = systemEnvironment
const emptyRef = hashBlob(Buffer.alloc(0))

/** Loads some refs wrongly: not at all, or with a bit flipped. Survives the close of a store on it. */
class DamagedEngine extends MemoryEngine {
  readonly damaged = new Map<Blobref, 'flipped' | 'missing'>()
  readonly loaded = new Set<Blobref>()

  override async load(refs: readonly Blobref[]): Promise<(Uint8Array | undefined)[]> {
    const all = await super.load(refs)
    return all.map((bytes, index) => {
      const ref = refs[index]
      if (!bytes || !ref) return undefined
      this.loaded.add(ref)
      const damage = this.damaged.get(ref)
      if (damage === 'missing') return undefined
      if (damage === undefined) return bytes
      const flipped = Buffer.from(bytes)
      flipped[flipped.length >> 1] = (flipped[flipped.length >> 1] ?? 0) ^ 4
      return flipped
    })
  }

  override async [Symbol.asyncDispose](): Promise<void> {}
}

const names = fc.constantFrom('a', 'b', 'c', 'd', 'e')
const keys = fc.array(names, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'))
const values = fc.oneof(
  fc.string({ maxLength: 5 }),
  fc.tuple(fc.integer({ min: 250, max: 400 }), names).map(([size, name]) => name.repeat(size)),
)
const op: fc.Arbitrary<Op> = fc.oneof(
  fc.record({ op: fc.constant('put' as const), key: keys, value: values }),
  fc.record({ op: fc.constant('append' as const), key: keys, value: values }),
  fc.record({ op: fc.constant('append' as const), key: keys, value: fc.string() }),
  fc.record({ op: fc.constant('copy' as const), from: keys, key: keys }),
  fc.record({ op: fc.constant('trim' as const), key: keys, keep: fc.integer({ min: 0, max: 2 }) }),
)

/** Every value that can be read, by key. */
async function readable(store: Kvs): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  const walk = async (directory: string): Promise<void> => {
    const { entries } = await store.list(directory === '' ? '/' : directory)
    for (const { name, type } of entries) {
      const key = directory === '' ? name : `${directory}/${name}`
      if (type === 'dir') await walk(key).catch(() => {})
      else if (type !== 'symlink') {
        const { base } = (await store.stat(key)) ?? {}
        const reading = await store.read(key, base ? { from: base.size } : {})
        try {
          const chunks: Uint8Array[] = []
          for await (const chunk of reading?.chunks ?? []) chunks.push(chunk)
          found.set(key, Buffer.concat(chunks).toString('hex'))
        } catch {
          // It is damaged.
        }
      }
    }
  }
  await walk('').catch(() => {})
  return found
}

it('all damage is found; a repair leaves a clean tree in which every whole key is as it was', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(op, { minLength: 5, maxLength: 60 }),
      fc.array(fc.tuple(fc.nat(), fc.boolean()), { minLength: 1, maxLength: 4 }),
      async (ops, damages) => {
        const engine = new DamagedEngine(environment)
        {
          await using store = await openOn(engine, { cacheSize: 1 })
          for (const each of ops) await store.commit({ ops: [each] }).catch(() => {})
        }
        engine.loaded.clear()
        const options = { environment, repair: false }
        expect(await checkEngine(engine, options)).toMatchObject({ clean: true })
        // An empty blob is never asked for: whoever reads it reads nothing.
        const refs = [...engine.loaded].filter((ref) => ref !== emptyRef).sort()
        for (const [at, missing] of damages) {
          const ref = refs[at % refs.length]
          if (ref) engine.damaged.set(ref, missing ? 'missing' : 'flipped')
        }
        const found = await checkEngine(engine, options)
        expect(found.clean).toBe(false)
        const others = found.findings.filter(
          ({ ref, key, where }) =>
            !(where === 'pin' && key === 'pins') && (!ref || !engine.damaged.has(ref)),
        )
        expect(others).toEqual([])
        let before: Map<string, string>
        {
          await using store = await openOn(engine, { cacheSize: 1 }).catch(() => undefined)
          before = store ? await readable(store) : new Map()
        }
        try {
          await checkEngine(engine, { environment, repair: true })
        } catch (error) {
          // It would have to store just what is there, damaged.
          expect(String(error)).toContain('of which the store has a damaged copy')
          return
        }
        const after = await checkEngine(engine, options)
        expect(after.findings.filter(({ where }) => where === 'data')).toEqual([])
        expect(after.findings.filter(({ where }) => where === 'meta')).toEqual([])
        expect(after.findings.filter(({ where }) => where === 'root')).toEqual([])
        await using store = await openOn(engine, { cacheSize: 1 })
        const left = await readable(store)
        for (const [key, bytes] of before) expect(left.get(key), key).toBe(bytes)
      },
    ),
    { numRuns: 25 },
  )
})
