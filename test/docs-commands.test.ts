/** The commands that the pages of `docs/` name, with their options: all of them are there. */

import { expect, test } from 'vitest'
import type { Command } from '../src/cli/command.js'
import { commandGroups } from '../src/cli/commands.js'
import { blocksOf } from './support/project.js'
import { nothing, pathsIn, readText } from './tidy/tree.js'

/** Options of all commands. */
const common = ['--data', '--url', '--timeout', '--color', '--json', '--help', '--version']

/** The flags of each command by its name, such as `ns config`. */
const flags = new Map<string, ReadonlySet<string>>()
for (const { commands } of commandGroups) {
  for (const command of commands) {
    flags.set(command.name, flagsOf(command))
    for (const child of command.commands ?? []) {
      flags.set(`${command.name} ${child.name}`, flagsOf(child))
    }
  }
}

function flagsOf({ options }: { readonly options?: Command['options'] }): ReadonlySet<string> {
  const all = Object.values(options ?? {}).flatMap(
    (option) => option.flags.match(/--?[a-z][a-z-]*/g) ?? [],
  )
  return new Set([...all, ...common])
}

/** The command lines of a text: those that begin with `tailrace` in code between backticks and in scripts, and code
 *  that begins with the name of a command and has an option (`ns config --quota`). What begins with another word is
 *  another system's. */
function callsIn(text: string): string[] {
  const spans = [...text.matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code)
  const lines = [...blocksOf(text, 'sh').values()].flatMap((script) => script.split('\n'))
  const whole = [...spans, ...lines].flatMap(
    (code) => code.match(/\btailrace [a-z][^|#)>]*/g) ?? [],
  )
  // `cp -a` is the system's.
  const short = spans.filter((code) => flags.has(code.split(' ')[0] ?? '') && / -(?!a$)/.test(code))
  return [...whole.map((call) => call.slice('tailrace '.length)), ...short]
}

test('every command and option that a page of docs names is there', () => {
  const calls = pathsIn('docs').flatMap((path) =>
    callsIn(readText(path)).map((call) => ({ path, call })),
  )
  expect(calls.length).toBeGreaterThan(60)
  nothing(
    calls.flatMap(({ path, call }) => {
      const [name = '', child = ''] = call.trim().split(' ')
      const known = flags.get(`${name} ${child}`) ?? flags.get(name)
      if (!known) return [`${path}: there is no command ${name}: ${call}`]
      // Behind `--` another program begins; a star stands for several options.
      const used = call.split(' -- ')[0]?.match(/(?<=\s)--?[a-z][a-z-]*(?![a-z*-])/g) ?? []
      return used
        .filter((flag) => !known.has(flag))
        .map((flag) => `${path}: ${name} has no ${flag}: ${call}`)
    }),
  )
})
