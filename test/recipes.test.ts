/** The recipes of `docs/recipes.md`, and the backup of `docs/upgrades.md`, run as printed beside a server that is a process: what they promise is looked at
 *  after kills of servers and of their own processes in the middle. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { blocksOf, complaintsAbout, makeProject } from './support/project.js'
import { mainFile, Sandbox } from './support/sandbox.js'

const root = fileURLToPath(new URL('..', import.meta.url))

let sandbox: Sandbox
let programs: ReadonlyMap<string, string>
let scripts: ReadonlyMap<string, string>
/** What ends the processes of a test that are left. */
const left = new Set<() => void>()

/** A project that has all recipes, the package, and the command `tailrace` in its PATH. */
beforeEach(async () => {
  sandbox = await Sandbox.make()
  const page = await readFile(join(root, 'docs/recipes.md'), 'utf8')
  programs = blocksOf(page, 'js')
  scripts = blocksOf(page, 'sh')
  await makeProject(sandbox.directory)
  for (const [name, text] of programs) await file(`${name}.mjs`, text)
  for (const [name, text] of scripts) await file(`${name}.sh`, text)
  await mkdir(join(sandbox.directory, 'bin'))
  await file('bin/tailrace', `#!/bin/sh\nexec '${process.execPath}' '${mainFile}' "$@"\n`)
})
afterEach(async () => {
  for (const end of left) end()
  left.clear()
  await sandbox.remove()
})

/** Writes a file that may be executed. */
function file(name: string, text: string): Promise<void> {
  return writeFile(join(sandbox.directory, name), text, { mode: 0o755 })
}

function path(name: string): string {
  return join(sandbox.directory, name)
}

/** Awaits a text in a file, and returns the whole of it. */
async function written(name: string, text: string): Promise<string> {
  const read = () => readFile(path(name), 'utf8').catch(() => '')
  await expect.poll(read).toContain(text)
  return read()
}

/** Starts a program, or a script with `bash`, in a process group of its own. */
function start(command: 'bash' | 'node', ...args: readonly string[]) {
  const program = command === 'node' ? process.execPath : command
  const { TAILRACE_URL: _url, TAILRACE_TOKEN: _token, ...inherited } = process.env
  const env = {
    ...inherited,
    TAILRACE_DATA: sandbox.data,
    PATH: `${path('bin')}:${process.env['PATH']}`,
  }
  const child = spawn(program, args, { cwd: sandbox.directory, env, detached: true })
  const said = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said.stderr += text
  })
  child.stdin.on('error', () => {}) // a process that was killed reads no more
  const signal = (name: NodeJS.Signals) => child.pid && process.kill(-child.pid, name)
  const killGroup = () => {
    try {
      signal('SIGKILL')
    } catch {
      // Nothing is left of the group.
    }
  }
  left.add(killGroup)
  const ended = once(child, 'close').then(([code]) => {
    return { code, stdout: said.stdout, stderr: said.stderr }
  })
  const tells = (text: string) => expect.poll(() => said.stdout).toContain(text)
  return { stdin: child.stdin, said, ended, signal, killGroup, tells }
}

/** Starts the server as a process of its own. It ends by `kill`. */
async function serve() {
  const server = start('node', mainFile, 'serve')
  await expect.poll(() => sandbox.askHere(['status']).then((asked) => asked?.code)).toBe(0)
  return {
    kill: async () => {
      server.killGroup()
      await server.ended
    },
  }
}

it('every program of the recipes is sound under tsc --strict --checkJs', async () => {
  expect([...programs.keys()]).toEqual(['viewer', 'agent', 'resume', 'rollback', 'steps', 'worker'])
  expect([...scripts.keys()]).toEqual(['build', 'events', 'config', 'deploy', 'submit'])
  const files = [...programs.keys()].map((name) => `${name}.mjs`)
  expect(await complaintsAbout(sandbox.directory, files, ['--allowJs', '--checkJs'])).toBe('')
})

it('every viewer of a build sees each line once, though the server is killed in the middle', async () => {
  await file('build', '#!/bin/sh\necho compile; until [ -e go ]; do sleep 0.02; done; echo link\n')
  const server = await serve()
  const build = start('bash', 'build.sh')
  const viewer = start('node', 'viewer.mjs')
  await viewer.tells('compile\n')
  for (const name of ['first.log', 'second.log']) await written(name, 'compile\n')
  await server.kill()
  await file('go', '')
  await serve()
  expect(await build.ended).toMatchObject({ code: 0 })
  const all = 'compile\nlink\n'
  for (const name of ['first.log', 'second.log', 'late.log']) {
    expect([name, await readFile(path(name), 'utf8')]).toEqual([name, all])
  }
  expect(await viewer.ended).toEqual({ code: 0, stdout: all, stderr: '' })
})

it('each event of an agent lands once, over a killed server; a new process fences the old one', async () => {
  const server = await serve()
  const agent = start('node', 'agent.mjs')
  agent.stdin.write('plan\n')
  await agent.tells('event 0\n')
  await server.kill()
  agent.stdin.write('search\n')
  await serve()
  await agent.tells('event 1\n')
  const next = start('node', 'agent.mjs')
  next.stdin.end('again\n')
  expect(await next.ended).toEqual({ code: 0, stdout: 'event 2\n', stderr: '' })
  agent.stdin.end('late\n')
  expect(await agent.ended).toMatchObject({ code: 1, stderr: expect.stringContaining('EFENCED') })
  expect(await sandbox.ok(['get', 'agents/7/events'])).toBe(
    '{"step":"plan"}\n{"step":"search"}\n{"step":"again"}\n',
  )
})

it('a viewer of events goes on where it was killed, and is told of another history', async () => {
  await serve()
  const events = ['append', 'agents/7/events', '-', '--lines']
  await sandbox.ok(events, { input: 'one\ntwo\n' })
  const first = start('node', 'resume.mjs')
  await written('position.json', '"index":2')
  first.signal('SIGKILL')
  await first.ended
  expect(first.said.stdout).toBe('one\ntwo\n')
  await sandbox.ok([...events, '--seal'], { input: 'three\n' })
  const again = start('node', 'resume.mjs')
  expect(await again.ended).toEqual({ code: 0, stdout: 'three\n', stderr: '' })
  await sandbox.ok(['rm', 'agents/7/events'])
  await sandbox.ok(events, { input: 'four\nfive\nsix\nseven\n' })
  const other = start('node', 'resume.mjs')
  expect(await other.ended).toEqual({
    code: 4,
    stdout: '',
    stderr: 'these are other events now: remove position.json to begin anew\n',
  })
})

it('events of a shell are followed to the seal', async () => {
  await serve()
  const { code, stdout } = await start('bash', 'events.sh').ended
  expect(code).toBe(0)
  expect(
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual([
    expect.objectContaining({ name: 'plan' }),
    expect.objectContaining({ name: 'tool', context: { name: 'search' } }),
    expect.objectContaining({ name: 'answer', context: { text: '42' } }),
  ])
})

it('a change of the configuration that lost a race is refused, and a bad one is taken back', async () => {
  await serve()
  const { code, stdout, stderr } = await start('bash', 'config.sh').ended
  expect([code, stderr]).toEqual([0, expect.stringMatching(/^tailrace: ECONFLICT: .+\n$/)])
  expect(stdout).toMatch(/^refused with 4\n( +\d+ .* val .*\n){2}\{"level": "info"\}\n?$/)
  const value = () => sandbox.ok(['get', 'service/config'])
  expect(await start('node', 'rollback.mjs').ended).toEqual({ code: 0, stdout: '', stderr: '' })
  expect(await value()).toBe('{"level": "debug"}')
  const history = await sandbox.ok(['log', 'service/config'])
  expect(history.trimEnd().split('\n')).toHaveLength(4)
})

it('a configuration that nobody changed has no way back', async () => {
  await serve()
  await sandbox.ok(['put', 'service/config', 'first'])
  const { code, stderr } = await start('node', 'rollback.mjs').ended
  expect([code, stderr]).toEqual([1, expect.stringContaining('has no state before this one')])
  expect(await sandbox.ok(['get', 'service/config'])).toBe('first')
})

it('deployments run one after the other, and each writes under its lease', async () => {
  // Two at the same time would meet in the directory.
  await file('deploy', '#!/bin/sh\nmkdir busy && sleep 0.3 && rmdir busy\n')
  await serve()
  const both = ['v1', 'v2'].map((version) => start('bash', 'deploy.sh', version))
  for (const { ended } of both) expect(await ended).toEqual({ code: 0, stdout: '', stderr: '' })
  const begun = (await sandbox.ok(['get', 'deploys'])).trimEnd().split('\n')
  expect([...begun].sort()).toEqual(['begin v1', 'begin v2'])
  expect(`begin ${await sandbox.ok(['get', 'deployed'])}`).toBe(begun.at(-1))
  expect((await sandbox.call(['lease', 'show', 'deploy'])).code).toBe(1)
})

it('a holder of the lock that was stopped for too long changes nothing when it wakes up', async () => {
  await serve()
  const late = start('node', 'steps.mjs', 'late')
  await late.tells('late holds the lock')
  late.stdin.write('one\n')
  const steps = () => sandbox.call(['get', 'deploys']).then(({ stdout }) => stdout)
  await expect.poll(steps).toBe('late: one\n')
  late.signal('SIGSTOP')
  const next = start('node', 'steps.mjs', 'next')
  await next.tells('next holds the lock')
  next.stdin.write('two\n')
  await expect.poll(steps).toBe('late: one\nnext: two\n')
  late.stdin.end('three\n')
  late.signal('SIGCONT')
  expect(await late.ended).toMatchObject({ code: 4, stderr: 'late has lost the lock\n' })
  next.stdin.end('four\n')
  expect(await next.ended).toMatchObject({ code: 0, stderr: '' })
  expect(await steps()).toBe('late: one\nnext: two\nnext: four\n')
  expect(await sandbox.ok(['get', 'deployed'])).toBe('next')
})

it('each item of a queue has one result, and that of a worker that died is taken over', async () => {
  const stuck = 'if [ "$1" = stuck ] && mkdir met 2>/dev/null; then exec sleep 60; fi'
  await file('work', `#!/bin/sh\necho "$1" >> runs\n${stuck}\necho "made of $1"\n`)
  await serve()
  await sandbox.ok(['append', 'queue/items', 'stuck'])
  const dying = start('node', 'worker.mjs')
  await expect.poll(() => existsSync(path('met'))).toBe(true)
  const workers = [start('node', 'worker.mjs'), start('node', 'worker.mjs')]
  expect(await start('bash', 'submit.sh').ended).toMatchObject({ code: 0, stderr: '' })
  await expect.poll(() => sandbox.ok(['ls', 'queue/done'])).toBe('1\n2\n')
  dying.killGroup()
  for (const { ended } of workers) expect(await ended).toEqual({ code: 0, stdout: '', stderr: '' })
  for (const [index, item] of ['stuck', 'photo 1', 'photo 2'].entries()) {
    expect(await sandbox.ok(['get', `queue/done/${index}`])).toBe(`made of ${item}\n`)
  }
  const runs = (await readFile(path('runs'), 'utf8')).trimEnd().split('\n')
  expect(runs.sort()).toEqual(['photo 1', 'photo 2', 'stuck', 'stuck'])
})

it('a backup is checked, and comes back beside what it was made of', async () => {
  const page = await readFile(join(root, 'docs/upgrades.md'), 'utf8')
  await file('backup.sh', blocksOf(page, 'sh').get('backup') ?? '')
  await serve()
  await sandbox.ok(['put', 'greeting', 'hello'])
  const { stdout, code } = await start('bash', 'backup.sh').ended
  expect([code, stdout]).toEqual([
    0,
    expect.stringMatching(/^whole: primary at 1 [\s\S]*^greeting$/m),
  ])
  expect(await sandbox.ok(['get', 'greeting', '-n', 'restored'])).toBe('hello')
})
