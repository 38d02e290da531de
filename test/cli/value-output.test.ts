/** Values on a terminal: text goes through as it is, however it is cut; anything else is refused. */

import { Writable } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { UsageError } from '../../src/cli/command.js'
import { Output } from '../../src/cli/output.js'
import { heldMax, ValueOutput } from '../../src/cli/value-output.js'

async function written(
  chunks: readonly (string | Uint8Array)[],
  { isTTY = true, force = false, isLine = false } = {},
): Promise<{ readonly text: string; readonly refused: boolean }> {
  const pieces: Buffer[] = []
  const stream = new Writable({
    write: (chunk, _, done) => {
      pieces.push(chunk)
      done()
    },
  })
  const output = new ValueOutput(new Output(Object.assign(stream, { isTTY })), { force, isLine })
  let refused = false
  try {
    for (const chunk of chunks) await output.write(Buffer.from(chunk))
    await output.end()
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError)
    refused = true
  }
  return { text: Buffer.concat(pieces).toString('latin1'), refused }
}

const latin1 = (text: string) => Buffer.from(text).toString('latin1')

describe('on a terminal', () => {
  it('text goes through as it is, wherever it is cut', async () => {
    const whole = 'a\tb\r\n\x1b[1;31mréd 😀\x1b[0m\n'
    const bytes = Buffer.from(whole)
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length), fc.nat(bytes.length), async (one, two) => {
        const [from, to] = [Math.min(one, two), Math.max(one, two)]
        const parts = [bytes.subarray(0, from), bytes.subarray(from, to), bytes.subarray(to)]
        expect(await written(parts)).toEqual({ text: latin1(whole), refused: false })
      }),
    )
  })

  it.each([
    ['a NUL', ['a\0']],
    ['an escape', ['a\x1b]0;title\x07']],
    ['an escape that is cut', ['a\x1b', '[2J']],
    ['an escape at the end', ['a\x1b[3']],
    ['a C1 control', ['\u009b31m']],
    ['a return that hides the line', ['rm -rf', ' /\r', 'ls']],
    ['a backspace', ['abc\b']],
    ['what turns the direction', ['abc\u202e']],
    ['bytes that are no UTF-8', [Uint8Array.of(0x61, 0xff)]],
    ['half a character at the end', [Uint8Array.of(0x61, 0xc3)]],
  ])('%s is refused before the first byte', async (_, chunks) => {
    expect(await written(['text\n'.repeat(100), ...chunks])).toEqual({ text: '', refused: true })
  })

  it('what begins as text and is long is refused where it is none', async () => {
    const chunk = 'x'.repeat(heldMax)
    const { text, refused } = await written([chunk, 'y', '\0'])
    expect([text.length, refused]).toEqual([heldMax + 1, true])
  })

  it('a newline follows a value that has none', async () => {
    expect((await written(['a'])).text).toBe('a\n')
    expect((await written(['a\n'])).text).toBe('a\n')
    expect((await written([])).text).toBe('')
  })

  it('--force writes everything', async () => {
    const chunks = ['\x1b[2J\0']
    expect(await written(chunks, { force: true })).toEqual({ text: '\x1b[2J\0\n', refused: false })
  })
})

it('elsewhere every byte goes as it is, and none is added but to lines', async () => {
  expect((await written(['\x1b[2J\0'], { isTTY: false })).text).toBe('\x1b[2J\0')
  expect((await written(['a'], { isTTY: false, isLine: true })).text).toBe('a\n')
  expect((await written([], { isTTY: false, isLine: true })).text).toBe('\n')
})
