/** Input as lines, and its bounds. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fileChunks, lineGroups, readAll } from '../../src/cli/stdin.js'

async function* chunksOf(parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield part
}

async function linesOf(parts: readonly Uint8Array[], lineMax = 1_000): Promise<string[]> {
  const lines: string[] = []
  for await (const group of lineGroups(chunksOf(parts), lineMax)) {
    lines.push(...group.map((line) => Buffer.from(line).toString('latin1')))
  }
  return lines
}

describe('lineGroups()', () => {
  it('gives the same lines however the input is cut', async () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '\n'), maxLength: 60 })
    await fc.assert(
      fc.asyncProperty(text, fc.array(fc.nat(60)), async (whole, cuts) => {
        const bytes = Buffer.from(whole)
        const places = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)), bytes.length]
        const sorted = places.toSorted((left, right) => left - right)
        const parts = sorted.slice(1).map((end, index) => bytes.subarray(sorted[index], end))
        expect(await linesOf(parts)).toEqual(whole.match(/[^\n]*\n|[^\n]+$/g) ?? [])
      }),
    )
  })

  it('of a line above the bound throws E2BIG, at the bound does not', async () => {
    const line = Buffer.alloc(10, 'a')
    expect(await linesOf([line], 10)).toEqual(['a'.repeat(10)])
    await expect(linesOf([line, Buffer.from('a')], 10)).rejects.toMatchObject({ code: 'E2BIG' })
  })
})

describe('readAll()', () => {
  it('takes what is at the bound and throws E2BIG above', async () => {
    const parts = [Buffer.from('12'), Buffer.from('34')]
    expect(Buffer.from(await readAll(chunksOf(parts), 4, 'hint')).toString()).toBe('1234')
    await expect(readAll(chunksOf(parts), 3, 'hint')).rejects.toMatchObject({ code: 'E2BIG' })
  })
})

describe('fileChunks()', () => {
  it('of what is no file says which and what', async () => {
    await expect(fileChunks('/nowhere/at/all')).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(fileChunks('/')).rejects.toMatchObject({ code: 'EISDIR' })
  })
})
