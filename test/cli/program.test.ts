/** The command line itself: help, and usage errors. No server runs. */

import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { PassThrough } from 'node:stream'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Command, command, flag, UsageError } from '../../src/cli/command.js'
import { commandGroups } from '../../src/cli/commands.js'
import { Output } from '../../src/cli/output.js'
import { runProgram } from '../../src/cli/program.js'
import { Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.make()
})
afterAll(() => sandbox.remove())

const commands = commandGroups.flatMap(({ commands }) => commands)

/** A command and those below it. */
function withChildren(spec: Command): Command[] {
  return [spec, ...(spec.commands ?? []).flatMap(withChildren)]
}

it('a rule that names an option which is not there does not compile', () => {
  const given = { name: 'x', summary: 'x', run: async () => {} }
  // @ts-expect-error there is no option "other"
  command({ ...given, options: { one: flag('--one', 'x', { needs: 'other' }) } })
  // @ts-expect-error there is no option "other"
  command({ ...given, options: { one: flag('--one', 'x', { excludes: ['other'] }) } })
  const both = { one: flag('--one', 'x', { needs: 'two' }), two: flag('--two', 'x') }
  expect(Object.keys(command({ ...given, options: both }).options)).toEqual(['one', 'two'])
})

describe('help', () => {
  const { commands: copies = [] } =
    commandGroups.find(({ heading }) => heading.startsWith('Copies')) ?? {}
  it.each(copies.map(({ name }) => name))('of %s has an example', async (name) => {
    expect(await sandbox.ok([name, '--help'])).toMatch(
      new RegExp(`Examples:\\n(.*\\n)*.*tailrace ${name}`),
    )
  })

  it('lists what a group has with its arguments, and no options', async () => {
    expect(await sandbox.ok(['ns', '--help'])).toMatch(/^ {2}create <name> {2,}/m)
  })

  it('names every command under a heading', async () => {
    const text = await sandbox.ok(['--help'])
    for (const { name, hidden } of commands) {
      expect([name, new RegExp(`^  ${name}\\b`, 'm').test(text)]).toEqual([name, !hidden])
    }
    for (const { heading } of commandGroups) expect(text).toMatch(new RegExp(`^${heading}:$`, 'm'))
    expect(text).toMatch(/^Exit codes: /m)
  })

  it('of a command ends with 0 and has its examples as they are', async () => {
    const { code, stdout } = await sandbox.call(['put', '--help'])
    expect(code).toBe(0)
    expect(stdout).toMatch(
      /^Examples:\n {2}tailrace put greeting "hello"\n {2}tar c src \| tailrace put /m,
    )
  })

  it('starts no server and makes no data directory', async () => {
    expect(await readdir(sandbox.directory)).toEqual([])
  })

  it('every command has an example, and every example is a command line', async () => {
    const all = commands.flatMap(withChildren)
    for (const { name, examples } of all) expect(examples?.join('\n')).toContain(name)
    const examples = all.flatMap(({ examples = [] }) => examples)
    for (const [line, calls] of await callsOf(examples)) {
      expect([line, calls.length]).not.toEqual([line, 0])
      for (const args of calls) expect([line, await parses(args)]).toEqual([line, true])
    }
  })
})

/** What each line of bash calls `tailrace` with. Nothing else runs. */
async function callsOf(lines: readonly string[]): Promise<[string, string[][]][]> {
  const script = [
    'cd "$(mktemp -d)"; touch names; PATH=; A=a B=b TOKEN=aa:1',
    // One write for a call: those of a pipe run at once.
    `tailrace() { local IFS=$'\\3'; printf '%s\\1' "$*" >&9; }`,
    'ssh() { shift; "$@"; }',
    'command_not_found_handle() { :; }',
    ...lines.flatMap((line) => [`( ${line}`, ') > /dev/null < /dev/null', 'printf "\\2" >&9']),
  ].join('\n')
  const { stdout } = await promisify(execFile)('bash', ['-c', `exec 9>&1; ${script}`])
  const calls = stdout.split('\x02').map((one) => {
    const each = one.split('\x01').slice(0, -1)
    return each.map((args) => args.split('\x03'))
  })
  return lines.map((line, index) => [line, calls[index] ?? []])
}

/** As a process would do it, but without a server to be had. */
async function called(args: readonly string[]): Promise<number> {
  const output = new Output(new PassThrough())
  const environment = { TAILRACE_URL: 'unix:/nowhere/tailrace.sock' }
  const spec = { version: '0', description: '', groups: commandGroups }
  return runProgram(spec, args, { stdout: output, stderr: output, environment })
}

async function parses(args: readonly string[]): Promise<boolean> {
  const stub = (spec: Command): Command => ({
    ...spec,
    ...(spec.run && { run: async () => 0 }),
    ...(spec.commands && { commands: spec.commands.map(stub) }),
  })
  const spec = {
    version: '0',
    description: '',
    groups: [{ heading: 'all', commands: commands.map(stub) }],
  }
  const output = new Output(new PassThrough())
  return (await runProgram(spec, args, { stdout: output, stderr: output, environment: {} })) === 0
}

describe('a wrong command line ends with 2 and one line', () => {
  it.each([
    ['an unknown command', ['frobnicate']],
    ['an unknown option', ['get', 'key', '--nope']],
    ['a missing argument', ['get']],
    ['an argument too many', ['get', 'a', 'b']],
    ['an option without its value', ['get', 'key', '--at']],
    ['a number that is none', ['get', 'key', '--at', 'x']],
    ['a number below its bound', ['get', 'key', '--at', '-1']],
    ['a put without a value', ['put', 'key']],
    ['a put with two values', ['put', 'key', 'value', '--file', 'f']],
    ['an append of lines from nowhere', ['append', 'key', 'value', '--lines']],
    ['a watch from two places', ['watch', 'key', '--from', '1', '--offset', '2']],
    ['a watch of an unknown mode', ['watch', 'key', '--mode', 'sideways']],
    ['a watch of values from an index', ['watch', 'key', '--mode', 'value', '--from', '1']],
    ['a watch of the last values', ['watch', 'key', '--mode', 'value', '-n', '2']],
    ['a watch of values from a byte', ['watch', 'key', '--mode', 'value', '--offset', '1']],
    ['a watch of appends that differ', ['watch', 'key', '--uniq']],
    ['a get of an append from a byte', ['get', 'key', '--index', '1', '--offset', '2']],
    ['a put under two conditions', ['put', 'key', 'v', '--if-absent', '--if-ref', 'x']],
    ['a time that slides without one', ['put', 'key', 'v', '--sliding']],
    ['a seal with a time', ['append', 'key', '--seal', '--ttl', '1h']],
    ['lines as they come', ['append', 'key', '-', '--lines', '--stream']],
    ['a tail that waits without following', ['tail', 'key', '--wait-create']],
    ['a host where nobody listens', ['serve', '--allow-host', 'h']],
    ['a mode of no socket', ['serve', '--socket-mode', '0660']],
    ['a socket that is run', ['serve', '--socket', '/none/s', '--socket-mode', '0770']],
    ['a socket without its owner', ['serve', '--socket', '/none/s', '--socket-mode', '0060']],
    ['a mode that lets nobody in', ['serve', '--socket', '/none/s', '--socket-mode', '0640']],
    ['an unknown signal', ['signal', 'id', 'SIGNOPE']],
    ['lptest of fewer columns than none', ['lptest', '-1']],
    ['lptest of too many bytes', ['lptest', '9007199254740991', '2']],
    ['run without a command', ['run']],
    ['jobs rm of nothing', ['jobs', 'rm']],
    ['jobs rm of ids and an age', ['jobs', 'rm', 'id', '--older-than', '1d']],
    ['jobs rm of all output', ['jobs', 'rm', '--older-than', '1d', '--output']],
    ['jobs of something', ['jobs', 'ID']],
    ['jobs of no state', ['jobs', '--state', 'failing']],
    ['all jobs, but so many', ['jobs', '--all', '--limit', '3']],
    ['attach from two places', ['attach', 'ID', '--tail', '1', '--since', '1m']],
    ['attach since no time', ['attach', 'ID', '--since', 'yesterday']],
  ])('%s', async (_, args) => {
    await expect(called(args)).rejects.toBeInstanceOf(UsageError)
  })

  it('as a process', async () => {
    const { code, stdout, stderr } = await sandbox.call(['get', 'key', '--nope'])
    expect(stderr).toMatch(/^tailrace: EINVAL: .+\n$/)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  })

  it('a root by another name: where refs are', async () => {
    const { code, stderr } = await sandbox.call(['restore', 'key', '--at', 'release-1'])
    expect(code).toBe(2)
    expect(stderr).toMatch(
      /--at takes a seq, the ref of a root or a time .*not "release-1".*tailrace pins/,
    )
  })

  it('none at all: the help, on stderr', async () => {
    const { code, stdout, stderr } = await sandbox.call([])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain('Usage: tailrace')
  })
})

describe('with --json', () => {
  it('a wrong command line is JSON, too', async () => {
    for (const args of [
      ['get', '--json'],
      ['get', 'key', '--nope', '--json'],
      ['put', 'key', '--json'],
      ['ls', '--json', '-l'], // which says all in any case
    ]) {
      const { code, stdout, stderr } = await sandbox.call(args)
      expect({ code, stderr }).toEqual({ code: 2, stderr: '' })
      expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'EINVAL' } })
    }
  })
})
