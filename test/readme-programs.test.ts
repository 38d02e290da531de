/** The programs of the README: sound under `tsc --strict` as the package's users have it, and run as printed. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { blocksOf, complaintsAbout, makeProject } from './support/project.js'
import { Sandbox } from './support/sandbox.js'

const root = fileURLToPath(new URL('..', import.meta.url))

/** The program of the first screen, which has no room for its name. */
const firstName = 'first'

let sandbox: Sandbox
/** The texts of all programs by their names. */
let programs: ReadonlyMap<string, string>

/** A project beside the data directory that has the package as npm would install it. */
beforeEach(async () => {
  sandbox = await Sandbox.make()
  const readme = await readFile(`${root}/README.md`, 'utf8')
  programs = blocksOf(readme, 'ts', firstName)
  await makeProject(sandbox.directory, { test: 'echo tested && exit 3' })
})
afterEach(() => sandbox.remove())

/** Writes a program into the project. The name of its file. */
async function write(name: string, extension: 'mjs' | 'mts', change = (text: string) => text) {
  const text = programs.get(name)
  if (text === undefined) throw new Error(`the README has no program ${name}.mjs`)
  const file = `${name}.${extension}`
  await writeFile(join(sandbox.directory, file), change(text))
  return file
}

/** Runs a program to its end. */
async function ran(name: string, ...args: readonly string[]) {
  const file = await write(name, 'mjs')
  const { code, stdout, stderr } = await sandbox.shell(`"$node" ${file} ${args.join(' ')}`)
  return { code, stdout, stderr }
}

it('every program of the README is sound under tsc --strict', async () => {
  const names = [...programs.keys()]
  expect(names).toEqual([
    firstName,
    'ci',
    'tokens',
    'config',
    'leader',
    'lines',
    'packed',
    'pipeline',
    'flow',
  ])
  const files = await Promise.all(names.map((name) => write(name, 'mts')))
  expect(await complaintsAbout(sandbox.directory, files)).toBe('')
})

it('the program of the first screen shows what a job prints, and ends as it did', async () => {
  const { code, stdout } = await ran(firstName)
  expect([code, stdout]).toEqual([3, expect.stringMatching(/^tested$/m)])
})

it('the CI runner tests a commit once, and knows the second time what came of it', async () => {
  await sandbox.serve()
  const first = await ran('ci', 'abc')
  expect(first.stdout).toMatch(/^tested$[\s\S]*^\{"id":"\w+","status":3\}$/m)
  const second = await ran('ci', 'abc')
  expect(second).toEqual({ code: 0, stdout: `${first.stdout.split('\n').at(-2)}\n`, stderr: '' })
})

it('the configuration is changed, guarded, and heard of', async () => {
  await sandbox.serve()
  const stdout = "the configuration is { level: 'debug' }\n"
  expect(await ran('config')).toEqual({ code: 0, stdout, stderr: '' })
})

it('leaders come one after the other, and each writes under its lease', async () => {
  await sandbox.serve()
  const script = `"$node" leader.mjs & "$node" leader.mjs && wait $! && t get decisions`
  await write('leader', 'mjs')
  const turns = 'turn 0\nturn 1\nturn 2\n'
  const { code, stdout, stderr } = await sandbox.shell(script)
  expect([code, stdout, stderr]).toEqual([0, turns + turns, ''])
})

it('the lines of a file are counted once, whoever asks', async () => {
  await sandbox.serve()
  const lines = 'package.json 1\n'
  await writeFile(join(sandbox.directory, 'package.json'), '{"type":"module"}\n')
  const counted = { code: 0, stdout: `counting package.json\n${lines}`, stderr: '' }
  expect(await ran('lines', 'package.json')).toEqual(counted)
  expect(await ran('lines', 'package.json')).toEqual({ ...counted, stdout: lines })
})

it('a packed value is copied by reference, and opened once', async () => {
  await sandbox.serve()
  expect(await ran('packed')).toEqual({ code: 0, stdout: '499500 1 true\n', stderr: '' })
})

it('the pipeline is made once, and again from where it was edited', async () => {
  await sandbox.serve()
  const text = programs.get('pipeline') ?? ''
  expect(await readFile(join(root, 'share/pipeline.mjs'), 'utf8')).toBe(text)
  const file = await write('pipeline', 'mjs')
  const lines = [
    /^penalty 0: slope 3\.00, /m,
    /^penalty 100: slope 2\.\d\d, /m,
    /^penalty 10000: /m,
  ]
  const first = await sandbox.call(['flow', 'run', file])
  for (const line of lines) expect(first.stdout).toMatch(line)
  expect(first.stderr).toMatch(/: 8 made, 0 found, 0 failed, 0 skipped in [\d.]+ s\n$/)
  const again = await sandbox.call(['flow', 'run', file])
  expect([again.code, again.stdout]).toEqual([0, ''])
  expect(again.stderr).toMatch(/: 0 made, 8 found, 0 failed, 0 skipped in [\d.]+ s\n$/)
  await write('pipeline', 'mjs', (text) => text.replace('error ${', 'mean error ${'))
  expect((await sandbox.call(['flow', 'why', file, 'fetch'])).stdout).toMatch(
    /^module\.files\["pipeline\.mjs"\]: /,
  )
  const edited = await sandbox.call(['flow', 'run', file])
  expect(edited.stdout).toContain(', mean error ')
})

it('the words of all pages are counted by a flow', async () => {
  await mkdir(join(sandbox.directory, 'pages'))
  await writeFile(join(sandbox.directory, 'pages/b.md'), 'one two\nthree\n')
  await writeFile(join(sandbox.directory, 'pages/a.md'), 'one')
  await writeFile(join(sandbox.directory, 'pages/c.txt'), 'none')
  const stdout = 'words 2\na.md 1\nb.md 3\n'
  expect(await ran('flow', 'pages')).toEqual({ code: 0, stdout, stderr: '' })
})

it('the page of the token stream gets every token, and is told when there are no more', async () => {
  await sandbox.serve()
  const port = await freePort()
  const file = await write('tokens', 'mjs', (text) => text.replace('8080', `${port}`))
  const child = spawn(process.execPath, [file], {
    cwd: sandbox.directory,
    env: { ...process.env, TAILRACE_DATA: sandbox.data },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  try {
    const page = () => fetch(`http://127.0.0.1:${port}/`).then((answer) => answer.text())
    await expect.poll(() => page().catch(() => '')).toContain("new EventSource('/answer')")
    const stream = await fetch(`http://127.0.0.1:${port}/answer`)
    const text = await stream.text()
    const shown = [...text.matchAll(/^data: (\{"index".*\})$/gm)].map(
      ([, data = '']) => JSON.parse(data).data,
    )
    expect([shown.join(''), text]).toEqual([
      'Water runs downhill.\n',
      expect.stringMatching(/^event: end$/m),
    ])
    const last = [...text.matchAll(/^id: (.*)$/gm)].at(-1)?.[1] ?? ''
    const again = await fetch(`http://127.0.0.1:${port}/answer`, {
      headers: { 'last-event-id': last },
    })
    expect(again.status).toBe(204)
  } finally {
    child.kill()
    await once(child, 'exit')
  }
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address ? address.port : 0
}
