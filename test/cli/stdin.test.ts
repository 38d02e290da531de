/** Input: as lines, whole, read ahead, and where it is not what it should be. See rfc/13, rule 16. */

/** Input: as lines, whole, read ahead, and where it is not what it should be. See rfc/13, rule 16. */

import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Wakeup } from '../../src/base/wakeup.js'
import { fileChunks, lineGroups, readAhead, readAheadMax, readAll } from '../../src/cli/stdin.js'
import { Sandbox } from '../support/sandbox.js'

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

describe('readAhead()', () => {
  it('gives every byte once, in order, whoever is slower', async () => {
    const chunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 5 }), { maxLength: 20 })
    await fc.assert(
      fc.asyncProperty(chunks, fc.scheduler(), async (parts, scheduler) => {
        async function* source() {
          for (const part of parts) {
            await scheduler.schedule(Promise.resolve())
            yield part
          }
        }
        const came: Uint8Array[] = []
        const consume = async () => {
          for await (const piece of readAhead(source())) {
            came.push(piece)
            await scheduler.schedule(Promise.resolve())
          }
        }
        const consumed = consume()
        await scheduler.waitFor(consumed)
        expect(Buffer.concat(came).equals(Buffer.concat(parts))).toBe(true)
        expect(came.every(({ length }) => length > 0)).toBe(true)
      }),
    )
  })

  it('joins what came while its consumer was busy', async () => {
    const read = new Wakeup()
    async function* source() {
      for (const text of ['a', 'b', 'c']) {
        yield Buffer.from(text)
        read.wake()
      }
    }
    const pieces = readAhead(source())
    const first = await pieces.next()
    expect(String(first.value)).toBe('a')
    while (read.count < 3) await read.wait(read.count)
    const second = await pieces.next()
    expect(String(second.value)).toBe('bc')
    expect((await pieces.next()).done).toBe(true)
  })

  it('reads no more than its bound ahead, and throws what the source throws, last', async () => {
    const size = readAheadMax / 2
    let read = 0
    async function* source() {
      for (let at = 0; at < 5; at++) {
        read++
        yield new Uint8Array(size)
      }
      throw new Error('cut')
    }
    const pieces = readAhead(source())
    let bytes = (await pieces.next()).value?.length ?? 0
    await expect.poll(() => read).toBe(4)
    const drained = async () => {
      for await (const piece of pieces) bytes += piece.length
    }
    await expect(drained()).rejects.toThrow('cut')
    expect(bytes).toBe(5 * size)
  })
})

describe('input of a command', () => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = await Sandbox.makeServed()
    await sandbox.ok(['put', 'k', 'before'])
  })
  afterAll(() => sandbox.remove())

  describe('stdin', () => {
    it.each([
      ['put k -', '<&-', 'EIO'],
      ['put k -', '< /tmp', 'EISDIR'],
      ['put k - --idempotency-key once', '<&-', 'EIO'],
      ['append k -', '< /tmp', 'EISDIR'],
      ['append k - --lines', '<&-', 'EIO'],
      ['append k - --stream', '<&-', 'EIO'],
      ['append k - --lines', '0> written', 'EIO'],
      ['import - --replace', '< /tmp', 'EISDIR'],
      ['txn -', '<&-', 'EIO'],
      ['treeobj put k -', '<&-', 'EIO'],
      ['blob put -', '< /tmp', 'EISDIR'],
      ['verify -', '<&-', 'EIO'],
      ['run -i -- touch ran', '<&-', 'EIO'],
    ])('of %s %s is %s', async (command, redirection, code) => {
      const ended = await sandbox.shell(`t ${command} ${redirection}; echo $?`)
      expect(ended.stderr).toMatch(new RegExp(`^tailrace: ${code}: .*stdin.*\\n$`))
      expect(ended.stdout).toMatch(/^[1-9]\n$/)
    })

    it('that was refused has changed nothing', async () => {
      expect(await sandbox.ok(['root'])).toMatch(/^1 /)
    })

    it('that is /dev/null, or an empty file, is an empty value', async () => {
      const script =
        't put empty - < /dev/null && t stat empty; : > none; t put none - < none && t get none'
      expect((await sandbox.shell(script)).stdout).toMatch(/size +0\n/)
    })
  })

  it.each([
    ['a context', `eventlog append e x '{"id":12345678901234567}'`, /12345678901234567/],
    ['a name twice', `eventlog append e x '{"a":1,"a":2}'`, /"a" twice/],
    ['a timestamp', 'eventlog append e x --timestamp 1700000000.123456789', /1700000000.123456789/],
    ['a transaction', `txn - <<< '{"ops":[{"op":"trim","key":"k","keep":1e400}]}'`, /1e400/],
    ['bytes in a transaction', `txn - <<< $'{"ops":[{"op":"mkdir","key":"\\xe9"}]}'`, /UTF-8/],
    ['a treeobj', `treeobj put t - <<< '{"ver":1,"ver":1}'`, /"ver" twice/],
  ])('JSON that would be changed without a word is EINVAL: %s', async (_, command, message) => {
    const ended = await sandbox.shell(`t ${command}; echo $?; t eventlog get e`)
    expect(ended.stderr).toMatch(/^tailrace: EINVAL: /)
    expect(ended.stderr).toMatch(message)
    expect(ended.stdout).toMatch(/^[12]\n$/)
  })
})
