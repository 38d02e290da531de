/** Part of the engine contract: roots that get other refs, what a root says of itself, and which blobs are
 *  there: rfc/4. */

import { expect, test } from 'vitest'
import type { Engine } from '../../src/engine/engine.js'
import { advance, blobOf, codeOf, collect, historyOf, make, next, settle } from './fixture.js'

export function rewriteClaims(open: () => Promise<Engine>): void {
  test('a root keeps what it says of bytes, or says nothing', async () => {
    const engine = await open()
    const part = next(await make(engine, 'n'), 'one')
    const measured = { ...part, root: { ...part.root, written: 2 ** 40, size: 0 } }
    expect(await settle(engine, measured)).toMatchObject({ status: 'applied' })
    const [before, after] = await collect(engine.history('n', -1))
    expect(before && ('written' in before || 'size' in before)).toBe(false)
    expect(after).toEqual(measured.root)
  })

  test('rewrite() gives roots other refs, the head too, and changes nothing else', async () => {
    const engine = await open()
    let head = await make(engine, 'n')
    await make(engine, 'm')
    for (let i = 1; i <= 9; i++) head = await advance(engine, head, `t${i}`)
    const before = await collect(engine.history('n', -1))
    const blobs = [0, 4, 9].map((seq) => blobOf(`rewritten ${seq}`))
    const roots = blobs.map(({ ref }, at) => ({ seq: [0, 4, 9][at] ?? 0, ref }))
    await engine.rewrite('n', 'n-1', roots, blobs)
    const refs = new Map(roots.map(({ seq, ref }) => [seq, ref]))
    const after = before.map((root) => ({ ...root, ref: refs.get(root.seq) ?? root.ref }))
    expect(await collect(engine.history('n', -1))).toEqual(after)
    const rewritten = await engine.root('n')
    expect(rewritten).toEqual({ ...head, root: after.at(-1) })
    expect(await engine.load(blobs.map(({ ref }) => ref))).not.toContain(undefined)
    expect((await engine.root('m'))?.root.ref).toBe(blobOf('m-1 root 0').ref)
    // Commits go on from it, and the same commit sent again is still the same.
    if (rewritten) await advance(engine, rewritten, 't10')
    expect(await settle(engine, next({ ...head, root: { ...head.root, seq: 9 } }, 't10'))).toEqual({
      status: 'applied',
      revision: 10,
    })
    expect((await historyOf(engine, 'n', 8)).length).toBe(2)
  })

  test('rewrite() of what is not there changes nothing', async () => {
    const engine = await open()
    const head = await advance(engine, await make(engine, 'n'), 'one')
    const { ref } = blobOf('other')
    const one = { seq: 1, ref }
    expect(await codeOf(engine.rewrite('other', 'n-1', [one], []))).toBe('ENONS')
    expect(await codeOf(engine.rewrite('n', 'n-0', [one], []))).toBe('ENONS')
    for (const seq of [2, -1, 0.5]) {
      expect(await codeOf(engine.rewrite('n', 'n-1', [one, { seq, ref }], []))).toBe('EINVAL')
    }
    expect(await engine.root('n')).toEqual(head)
    await engine.rewrite('n', 'n-1', [], [])
    expect(await engine.root('n')).toEqual(head)
  })

  test('has() says which refs are there, in their order', async () => {
    const engine = await open()
    const head = await make(engine, 'n')
    const [put, missing, large] = [blobOf('put'), blobOf('missing'), blobOf(Buffer.alloc(70_000))]
    await engine.put([put, large])
    const refs = [missing.ref, put.ref, head.root.ref, missing.ref, large.ref]
    expect(await engine.has(refs)).toEqual([false, true, true, false, true])
    expect(await engine.has([])).toEqual([])
  })
}
