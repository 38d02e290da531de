/** What others wrote, as it is shown: nothing in it acts on a terminal or begins a row. */

import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { escaped, jsonLine, quoted } from '../../src/cli/quote.js'
import { Sandbox } from '../support/sandbox.js'
import { askingShell } from '../support/shell-asking.js'

const acting = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u202a-\u202e\u2066-\u2069\ufeff]/u
const names = fc.string({
  unit: fc.oneof(
    fc.constantFrom(
      '\n',
      '\x1b',
      "'",
      '\\',
      '$',
      '"',
      ' ',
      '\u202e',
      '\u0085',
      '\u{e0041}',
      'é',
      '😀',
      'a',
      '1',
    ),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
  ),
})

describe('quoted()', () => {
  it('gives each name another text, in which nothing acts', () => {
    fc.assert(
      fc.property(names, names, (one, other) => {
        expect(quoted(one)).not.toMatch(acting)
        if (one !== other) expect(quoted(one)).not.toBe(quoted(other))
      }),
    )
  })

  it('leaves what is plain, in any script, and joined emoji', () => {
    for (const name of ['a b', 'ключ', 'קובץ', '👩\u200d🚒', "it's", '$HOME', 'می\u200cخواهم']) {
      expect(quoted(name)).toBe(name)
    }
  })

  it('is read back by bash', () => {
    const odd = ['a\nb', "\x1b[31m'q\\'", '\u202eabc', '\u{e0041}x', '\x7f1', "$'a'"]
    const script = `printf '%s\\0' ${odd.map(quoted).join(' ')}`
    const env = { ...process.env, LC_ALL: 'C.UTF-8' }
    const stdout = execFileSync('bash', ['-c', script], { encoding: 'utf8', env })
    expect(stdout.split('\0').slice(0, -1)).toEqual(odd)
  })
})

it('escaped() leaves one line, in which nothing acts', () => {
  expect(escaped('no key "a\nb\x1b[2J\u009b"')).toBe('no key "a\\nb\\x1b[2J\\u009b"')
  fc.assert(fc.property(names, (text) => !acting.test(escaped(text))))
})

it('jsonLine() is the same value on one line, in which nothing acts', () => {
  fc.assert(
    fc.property(fc.dictionary(names, names), (value) => {
      expect(jsonLine(value)).not.toMatch(acting)
      expect(JSON.parse(jsonLine(value))).toEqual(JSON.parse(JSON.stringify(value)))
    }),
  )
})

it('is what the commands print', async () => {
  const sandbox = await Sandbox.makeServed()
  try {
    await using asking = await askingShell(sandbox, '"$node" "$main"')
    const name = `$'a\\nb\\e[2J'`
    const script = [
      asking.prologue,
      't() { tailrace "$@"; }',
      `t put ${name} 1`,
      `t ln ${name} link`,
      't ls',
      't ls -l',
      't ls -0 | tr "\\0\\n" ";|"',
      't diff 1',
      't readlink link',
      't stat link',
      `t lease take k --owner ${name} > token`,
      't lease show k',
      `t run -- ${name}`,
      `t get ${name}x`,
      `t get a --${name}`,
      't jobs',
    ].join('\n')
    const { stdout, stderr } = await sandbox.shell(script)
    const text = (stdout + stderr).replaceAll('a|b\x1b[2J;', '') // of -0, raw
    expect(text.replaceAll('\n', '')).not.toMatch(acting)
    expect(text.match(/a\\nb/g)).toHaveLength(7)
    expect(text).not.toMatch(/^b/m)
  } finally {
    await sandbox.remove()
  }
})
