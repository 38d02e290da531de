/** `tailrace flow resume` and `cancel`, on processes of their own. See rfc/26, rules 5 and 6. */

import { once } from 'node:events'
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { sharedPackage } from '../support/package.js'
import { failed, Sandbox } from '../support/sandbox.js'

/** A flow whose target `gate` waits while the environment says so, and whose functions say their names. */
const file = `
import { target, targetSignal } from 'tailrace/flow'
import { readFileSync } from 'node:fs'
const first = target('first', [], () => { console.log('first'); return readFileSync('number.txt', 'utf8') })
export const gate = target('gate', [first], async (text) => {
  const signal = targetSignal()
  console.log('gate')
  if (process.env.WAIT) await new Promise((_, reject) => {
    const waits = setInterval(() => {}, 1_000)
    signal.addEventListener('abort', () => { clearInterval(waits); reject(signal.reason) })
  })
  return text
}, { needs: { gpu: 1 } })
export const other = target('other', [first], () => console.log('other'))
`

const installed = sharedPackage()
let sandbox: Sandbox
let project: string

beforeEach(async () => {
  sandbox = await Sandbox.makeServed()
  project = join(sandbox.directory, 'project')
  await mkdir(join(project, 'node_modules'), { recursive: true })
  await symlink(installed.path, join(project, 'node_modules', 'tailrace'))
  await writeFile(join(project, 'package.json'), '{"type":"module"}')
  await writeFile(join(project, 'flow.mjs'), file)
  await writeFile(join(project, 'number.txt'), '7')
})
afterEach(() => sandbox.remove())

function flow(...args: readonly string[]) {
  return sandbox.call(['flow', ...args])
}

async function newest() {
  const { runs } = JSON.parse(await sandbox.ok(['flow', 'ls', '--json']))
  return runs[0] as { readonly run: string; readonly state: string }
}

/** Starts the run of `gate` in the project, and waits until that runs. */
async function waiting() {
  const args = ['flow', 'run', 'flow.mjs', 'gate', '--limit', 'gpu=1', '-j', '1']
  const running = sandbox.start(args, { cwd: project, env: { WAIT: '1' } })
  let said = ''
  running.child.stdout.on('data', (chunk) => {
    said += chunk
  })
  const ended = running.ended()
  while (!said.includes('gate')) await once(running.child.stdout, 'data')
  return { ...running, ended, run: (await newest()).run }
}

it('cancel ends a run of another process, and says who asked', async () => {
  const { run, ended } = await waiting()
  failed(await flow('cancel', 'r00000000000000a'), 'ENOENT')
  failed(await flow('resume', run), 'EBUSY')
  expect(await flow('cancel', run, '--wait', '--by', 'me')).toMatchObject({
    ...{ code: 0, stdout: 'canceled\n' },
  })
  const { code, stderr } = await ended
  expect([code, stderr]).toEqual([1, expect.stringContaining(`run ${run} was canceled by me`)])
  expect((await newest()).state).toBe('canceled')
  failed(await flow('cancel', run), 'ECONFLICT')
})

it('resume begins the newest run again that failed, unless a newer one made its targets', async () => {
  const run = () =>
    sandbox.call(['flow', 'run', 'flow.mjs', 'gate', '--limit', 'gpu=1'], { cwd: project })
  await rm(join(project, 'number.txt'))
  expect((await run()).code).toBe(1)
  const { run: broken, state } = await newest()
  expect(state).toBe('failed')
  await writeFile(join(project, 'number.txt'), '7')
  const resumed = await flow('resume')
  expect([resumed.code, resumed.stdout]).toEqual([0, 'first\ngate\n'])
  expect(resumed.stderr).toContain(`resume ${broken} (failed): flow.mjs gate\n`)
  failed(await flow('resume'), 'ENOENT')
})

it('resume begins a run again that was killed: its targets, options, and working directory', async () => {
  failed(await flow('resume'), 'ENOENT')
  const { run, child, ended } = await waiting()
  child.kill('SIGKILL')
  expect(await ended).toMatchObject({ signal: 'SIGKILL', stdout: 'first\ngate\n' })
  const resumed = await flow('resume', '--wait')
  expect([resumed.code, resumed.stdout]).toEqual([0, 'gate\n'])
  expect(resumed.stderr).toMatch(
    new RegExp(`^resume ${run} \\(killed\\): flow.mjs gate\nfound {3}first\nmade {4}gate `),
  )
  const { run: made, state } = await newest()
  const [begin = ''] = (await flow('show', made)).stdout.split('\n')
  expect([state, JSON.parse(begin).context]).toMatchObject([
    'ok',
    { resumes: run, targets: ['gate'], concurrency: 1, limits: { gpu: 1 } },
  ])
  // That one made its targets; a run that ended well is not begun again.
  failed(await flow('resume'), 'ENOENT')
  failed(await flow('resume', made), 'ECONFLICT')
  const elsewhere = await flow('resume', run, '--directory', 'none')
  failed(elsewhere, 'ENOENT')
  const again = await flow('resume', run, '--json')
  expect([again.code, JSON.parse(again.stdout.trim().split('\n').at(-1) ?? '')]).toMatchObject([
    0,
    { type: 'end', found: 2 },
  ])
})
