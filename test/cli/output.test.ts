/** Output: colours where a person reads, and nowhere else; and readers that go away. See rfc/13, rules 12 and 28. */

import { once } from 'node:events'
import { Writable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { colorAsked } from '../../src/cli/command-line.js'
import { commandGroups } from '../../src/cli/commands.js'
import { hasColors, Output } from '../../src/cli/output.js'
import { report } from '../../src/cli/report.js'
import { TailraceError } from '../../src/error.js'
import { Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.makeServed()
})
afterAll(() => sandbox.remove())

const esc = '\x1b'

describe('hasColors()', () => {
  it.each([
    ['on a terminal', undefined, {}, true, true],
    ['in a pipe', undefined, {}, false, false],
    ['on a dumb terminal', undefined, { TERM: 'dumb' }, true, false],
    ['with NO_COLOR', undefined, { NO_COLOR: '1' }, true, false],
    ['with an empty NO_COLOR', undefined, { NO_COLOR: '' }, true, true],
    ['with FORCE_COLOR', undefined, { FORCE_COLOR: '1' }, false, true],
    ['with FORCE_COLOR=0', undefined, { FORCE_COLOR: '0' }, true, false],
    ['with both', undefined, { FORCE_COLOR: '1', NO_COLOR: '1' }, true, false],
    ['with --color always', 'always', { NO_COLOR: '1' }, false, true],
    ['with --color never', 'never', { FORCE_COLOR: '1' }, true, false],
    ['with --color auto', 'auto', {}, true, true],
  ])('%s', (_, when, environment, isTerminal, expected) => {
    expect(hasColors(when, environment, isTerminal)).toBe(expected)
  })
})

describe('colorAsked()', () => {
  const commands = commandGroups.flatMap((group) => group.commands)
  it.each([
    [['--color', 'always', 'ls'], 'always'],
    [['--color=never', 'ls'], 'never'],
    [['ls', '--color=always', 'key'], 'always'],
    [['ls', 'key', '-l', '--color', 'never'], 'never'],
    [['ns', '--color=always', 'list'], 'always'],
    [['ns', 'list', '--color=always'], 'always'],
    [['--color=always', 'ls', '--color=never'], 'never'],
    [['run', '--color=always', 'ls'], 'always'],
    [['run', '--name', 'x', '--color=always', '--', 'ls', '--color=never'], 'always'],
    [['run', 'ls', '--color=always'], undefined],
    [['put', 'key', '--', '--color=always'], undefined],
    [['put', '--type', '--color=always', 'key'], undefined], // the value of --type
    [['ls'], undefined],
  ])('of %j is %s', (argv, expected) => {
    expect(colorAsked(commands, argv)).toBe(expected)
  })
})

const painted = { red: 31, green: 32, yellow: 33, blue: 34 } as const

it('ls -l paints directories, wherever --color stands, and no pipe without it', async () => {
  await sandbox.ok(['put', 'ci/log', 'x'])
  const dir = `${esc}[${painted.blue}mdir    ${esc}[39m`
  expect(await sandbox.ok(['--color=always', 'ls', '-l'])).toContain(dir)
  expect(await sandbox.ok(['ls', '-l', '--color=always'])).toContain(dir)
  expect(await sandbox.ok(['ls', '--color', 'always', '-l', '/'])).toContain(dir)
  const env = { FORCE_COLOR: '1', NO_COLOR: '' }
  expect(await sandbox.ok(['ls', '-l'], { env })).toContain(dir)
  expect(await sandbox.ok(['ls', '-l', '--color=never'], { env })).not.toContain(esc)
  expect(await sandbox.ok(['ls', '-l'], { env: { ...env, NO_COLOR: '1' } })).not.toContain(esc)
  expect(await sandbox.ok(['ls', '--json', '--color=always'])).not.toContain(esc)
})

/** Waits until the job runs. */
async function started(id: string): Promise<void> {
  const { child, ended } = sandbox.start(['attach', id])
  await once(child.stdout, 'data')
  child.kill('SIGINT')
  child.stdout.resume()
  await ended()
}

it('jobs paints states: green what ended with 0, red what did not, yellow what runs', async () => {
  const submit = async (...command: string[]) => {
    return (await sandbox.ok(['submit', '--', ...command])).trim()
  }
  const [done, failed, killed] = [
    await submit('true'),
    await submit('false'),
    await submit('sh', '-c', 'kill -9 $$'),
  ]
  const running = await submit('sh', '-c', 'echo; exec sleep 1000')
  await sandbox.call(['wait', done, failed, killed])
  await started(running)
  const lines = (await sandbox.ok(['jobs', '--color=always'])).split('\n')
  const stateOf = (id: string) => {
    const line = lines.find((each) => each.startsWith(id)) ?? ''
    const [, color, state = ''] = /\[(\d+)m(\w+)/.exec(line) ?? []
    return [state, Number(color)]
  }
  expect([done, failed, killed, running].map(stateOf)).toEqual([
    ['finished', painted.green],
    ['finished', painted.red],
    ['finished', painted.red],
    ['running', painted.yellow],
  ])
  expect(lines[0]).toContain(`${esc}[1mSTATE`)
  await sandbox.ok(['signal', running, 'KILL'])
})

it('--color always paints headings of the help, and auto in a pipe does not', async () => {
  expect(await sandbox.ok(['--color', 'always', '--help'])).toContain(`${esc}[1mKeys:${esc}`)
  expect(await sandbox.ok(['--color', 'always', 'put', '--help'])).toContain(
    `${esc}[1mExamples:${esc}`,
  )
  const env = { FORCE_COLOR: '', NO_COLOR: '' }
  expect(await sandbox.ok(['--help'], { env })).not.toContain(esc)
  for (const args of [
    ['--color', 'sometimes', 'ls'],
    ['ls', '--color', 'sometimes'],
  ]) {
    expect((await sandbox.call(args)).code).toBe(2)
  }
})

it('an error has a red code, what others wrote is escaped, and JSON is plain', async () => {
  let written = ''
  const outputOf = () =>
    new Output(
      new Writable({
        write: (chunk, _, done) => {
          written += chunk
          done()
        },
      }),
      { colors: true },
    )
  const streams = { stdout: outputOf(), stderr: outputOf() }
  const error = new TailraceError('ENOENT', `no ${esc}[2J`)
  await report(error, streams, { json: false })
  expect(written).toBe(`tailrace: ${esc}[31mENOENT${esc}[39m: no \\x1b[2J\n`)
  written = ''
  await report(error, streams, { json: true })
  expect(written).not.toContain(esc)
})

/** Without the end, these would wait for the next byte for ever. */
describe('a reader that goes away', () => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = await Sandbox.makeServed()
    await sandbox.ok(['append', 'log', 'first\n'])
    await sandbox.ok(['eventlog', 'append', 'events', 'first'])
  })
  afterAll(() => sandbox.remove())

  describe('a reader of a pipe that takes one line ends', () => {
    it.each([
      ['watch log'],
      ['watch log --mode value'],
      ['tail -f log'],
      ['eventlog follow events'],
      ['attach $(t submit -- sh -c "echo first; sleep 100")'],
      ['run -- sh -c "echo first; sleep 100"'],
    ])('%s', async (command) => {
      const { stdout, stderr } = await sandbox.shell(
        `t ${command} | head -1; echo \${PIPESTATUS[0]}`,
      )
      expect(stdout).toMatch(/first.*\n0\n$/)
      expect(stderr).toBe('')
    })
  })

  it('a reader that never read a byte, of a socket, ends what it followed', async () => {
    const { child } = sandbox.start(['watch', 'nothing', '--wait-create'])
    child.stdout.destroy()
    expect(await once(child, 'exit')).toEqual([0, null])
  })

  it('an interrupt ends a follower while its reader is there', async () => {
    const { child, ended } = sandbox.start(['tail', '-f', 'log'])
    const all = ended()
    await once(child.stdout, 'data')
    child.kill('SIGINT')
    expect(await all).toMatchObject({ code: 130, stdout: 'first\n' })
  })
})
