/** `tailrace flow`, built as its users have it, on the files of a project that has the package. See rfc/24, rules 24
 *  to 28. */

import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { copyFile, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sharedPackage } from '../support/package.js'
import { failed, Sandbox } from '../support/sandbox.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** A flow whose target `total` fails while the environment says so. */
const pipeline = `
import { map, target } from 'tailrace/flow'
import { rowsOf } from './rows.mjs'
export const rows = target('rows', [3], (count) => rowsOf(count))
const squares = map('squares', [rows], (row) => row * row)
export { squares as powers }
export default target('total', [squares], (all) => {
  if (process.env.BROKEN) throw new RangeError('no total today')
  return all.reduce((sum, each) => sum + each, 0)
})
export const size = target('size', [rows], (all) => all.length)
export const unrelated = 7
`
const rowsModule = 'export const rowsOf = (count) => Array.from({ length: count }, (_, at) => at)\n'

const installed = sharedPackage()
let sandbox: Sandbox

/** A project beside the data directory that has the package. */
beforeEach(async () => {
  sandbox = await Sandbox.makeServed()
  await mkdir(join(sandbox.directory, 'node_modules'))
  await symlink(installed.path, join(sandbox.directory, 'node_modules', 'tailrace'))
  await write('package.json', '{"type":"module"}')
  await write('flow.mjs', pipeline)
  await write('rows.mjs', rowsModule)
})
afterEach(() => sandbox.remove())

function write(name: string, text: string): Promise<void> {
  return writeFile(join(sandbox.directory, name), text)
}

function flow(...args: readonly string[]) {
  return sandbox.call(['flow', ...args])
}

/** The lines of stderr without times, spaces and the id of the run. */
function told(stderr: string): readonly string[] {
  return stderr
    .trimEnd()
    .split('\n')
    .map((line) =>
      line
        .replace(/^r[0-9a-v]{15}: /, '')
        .replace(/,? +\d+ ms$| in [\d.]+ s$/, '')
        .replace(/ +/g, ' '),
    )
}

describe('flow run', () => {
  it('makes all exported targets, and finds them the second time', async () => {
    const first = await flow('run', 'flow.mjs')
    expect([first.code, first.stdout]).toEqual([0, ''])
    const lines = told(first.stderr)
    expect([...lines].sort()).toEqual([
      '6 made, 0 found, 0 failed, 0 skipped',
      ...['made rows', 'made size', 'made squares 3 of 3 branches', 'made total'],
    ])
    expect(lines[0]).toBe('made rows')
    const second = await flow('run', 'flow.mjs')
    expect(second.code).toBe(0)
    expect([...told(second.stderr)].sort()).toEqual([
      '0 made, 6 found, 0 failed, 0 skipped',
      ...['found rows', 'found size', 'found squares 3 branches', 'found total'],
    ])
  })

  it('makes the targets that are named, and knows none but those that the file exports', async () => {
    const { code, stderr } = await flow('run', 'flow.mjs', 'size', '-j', '1')
    expect([code, told(stderr)]).toEqual([
      0,
      ['made rows', 'made size', '2 made, 0 found, 0 failed, 0 skipped'],
    ])
    const none = await flow('run', 'flow.mjs', 'size', 'powers')
    failed(none, 'EINVAL')
    // In the order of the names under which they are exported.
    expect(none.stderr).toContain('exports no target powers; it has total, squares, rows, size\n')
  })

  it('takes targets in arrays and objects, too', async () => {
    await write(
      'many.mjs',
      `import { target } from 'tailrace/flow'
      export const list = [1, 2].map((at) => target('list' + at, [at], (value) => value))
      export const deep = { more: [target('deep', [], () => 1)], none: null, text: 'x' }`,
    )
    const { code, stdout } = await flow('graph', 'many.mjs')
    expect([code, stdout]).toEqual([0, 'list1\nlist2\ndeep\n'])
    expect((await flow('graph', 'many.mjs', 'list2')).stdout).toBe('list2\n')
  })

  it('tells a failure with its stack, skips what depends on it, and ends with 1', async () => {
    const after = `export const after = target('after', [total], (sum) => sum)\n`
    const named = pipeline.replace('export default', 'export const total =')
    await write('flow.mjs', named + after)
    const options = { env: { BROKEN: '1' } }
    const stopped = await sandbox.call(['flow', 'run', 'flow.mjs', 'after', 'size'], options)
    expect([stopped.code, stopped.stdout]).toEqual([1, ''])
    expect(stopped.stderr).toMatch(
      /^failed {2}total {2}\d+ ms\n {2}RangeError: no total today\n {6}at .*flow\.mjs:8:/m,
    )
    expect(stopped.stderr).toMatch(/^skipped after {2}total failed$/m)
    const mended = await flow('run', 'flow.mjs')
    expect([mended.code, told(mended.stderr).at(-1)]).toEqual([
      0,
      '2 made, 5 found, 0 failed, 0 skipped',
    ])
  })

  it('--workers and --threads call functions elsewhere, whose output goes to stderr', async () => {
    await write(
      'where.mjs',
      `import { threadId } from 'node:worker_threads'
      import { target } from 'tailrace/flow'
      export const here = target('here', [process.argv.at(-2)], () => {
        console.log('printed')
        return [process.pid, threadId]
      })
      export const place = target('place', [here], ([pid, thread]) => {
        console.log(pid === process.pid && thread === threadId ? 'the same place' : 'another')
      })`,
    )
    for (const option of ['--workers', '--threads']) {
      const { code, stdout, stderr } = await flow('run', 'where.mjs', 'place', option, '1')
      expect([code, stdout]).toEqual([0, ''])
      expect(stderr.split('\n')).toEqual(expect.arrayContaining(['printed', 'the same place']))
    }
  })

  it('--keep-going makes what would not have begun', async () => {
    await write(
      'two.mjs',
      `import { target } from 'tailrace/flow'
      export const bad = target('bad', [], () => { throw new Error('bad') })
      const before = target('before', [], () => 1)
      export const good = target('good', [before], () => { console.log('good') })`,
    )
    const said = async (...args: readonly string[]) => {
      const { code, stdout } = await flow('run', 'two.mjs', '-j', '1', ...args)
      return [code, stdout]
    }
    // The failure comes before the input of the good one is stored.
    expect(await said()).toEqual([1, ''])
    expect(await said('--keep-going')).toEqual([1, 'good\n'])
  })

  it('--on-error and --retries hold for targets that say nothing else', async () => {
    await write(
      'two.mjs',
      `import { target } from 'tailrace/flow'
      const bad = target('bad', [], () => { throw new Error('bad') }, { retryDelayMs: 0 })
      export const good = target('good', [bad], (value) => { console.log('got', value) })`,
    )
    const said = async (...args: readonly string[]) => {
      const { code, stdout, stderr } = await flow('run', 'two.mjs', ...args)
      return [code, stdout, ...told(stderr).filter((line) => !line.startsWith('  '))]
    }
    const failures = await said('--on-error', 'null', '--retries', '1')
    expect(failures.filter((line) => !/^ +at /.test(`${line}`))).toEqual([
      ...[0, 'got null\n', 'retry bad call 1 failed, again in 0 ms: bad'],
      expect.stringMatching(/^failed bad \d+ ms, counts as null$/),
      ...[' Error: bad', 'made good', '1 made, 0 found, 1 failed, 0 skipped'],
    ])
    const [code, stdout, ...lines] = await said('--on-error', 'trim')
    expect([code, stdout, lines.at(-1)]).toEqual([0, '', '0 made, 0 found, 1 failed, 1 skipped'])
    expect((await said('--on-error', 'continue'))[0]).toBe(1)
    expect((await said('--on-error', 'null', '--keep-going'))[0]).toBe(2)
  })

  it('--rerun makes a target again, and with --rerun-dependents what depends on it', async () => {
    await flow('run', 'flow.mjs')
    const last = async (...args: readonly string[]) =>
      told((await flow('run', 'flow.mjs', ...args)).stderr).at(-1)
    expect(await last('--rerun', 'rows')).toBe('1 made, 5 found, 0 failed, 0 skipped')
    const all = await last('--rerun', 'rows', '--rerun', 'size', '--rerun-dependents')
    expect(all).toBe('6 made, 0 found, 0 failed, 0 skipped')
    failed(await flow('run', 'flow.mjs', '--rerun', 'none'), 'EINVAL')
  })

  it('--json prints an event a line, then the counts', async () => {
    const { code, stdout, stderr } = await sandbox.call(['flow', 'run', 'flow.mjs', '--json'], {
      env: { BROKEN: '1' },
    })
    expect([code, stderr]).toEqual([1, ''])
    const events = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(events[0]).toMatchObject({ type: 'start', target: 'rows', at: expect.any(Number) })
    expect(events.find(({ type }) => type === 'fail')).toMatchObject({
      target: 'total',
      error: { message: 'no total today', stack: expect.stringContaining('flow.mjs:8:') },
    })
    expect(events.at(-1)).toMatchObject({
      ...{ type: 'end', failed: 1, skipped: 0, found: 0 },
      run: expect.stringMatching(/^r[0-9a-v]{15}$/),
    })
    const none = await flow('run', 'flow.mjs', 'none', '--json')
    expect([none.code, none.stderr]).toEqual([1, ''])
    expect(JSON.parse(none.stdout)).toMatchObject({ error: { code: 'EINVAL' } })
  })

  it('gives targets what they need of a resource, and refuses more than there is', async () => {
    await write(
      'gpu.mjs',
      `import { target } from 'tailrace/flow'
      export const train = target('train', [], () => 1, { needs: { gpu: 2 } })`,
    )
    expect((await flow('run', 'gpu.mjs', '--limit', 'gpu')).code).toBe(2)
    const few = await flow('run', 'gpu.mjs', '--limit', 'gpu=1')
    expect([few.code, few.stderr]).toEqual([1, expect.stringMatching(/^tailrace: EINVAL: .*gpu/m)])
    expect((await flow('run', 'gpu.mjs', '--limit', 'gpu=2', '--limit', 'disk=1')).code).toBe(0)
  })

  it('refuses a file that is not there, that throws, and that exports no target', async () => {
    failed(await flow('run', 'none.mjs'), 'ENOENT')
    failed(await flow('run', 'rows.mjs'), 'EINVAL')
    await write('wrong.mjs', `import './rows.mjs'\nthrow new Error('not today')\n`)
    const { code, stderr } = await flow('run', 'wrong.mjs')
    expect(code).toBe(1)
    expect(stderr).toMatch(/^ {4}at .*wrong\.mjs:2:/m)
    expect(stderr).toMatch(/^tailrace: EINVAL: .*wrong\.mjs cannot be imported: not today\n$/m)
  })

  it("runs targets in the copy of the package that their project has, not in the command's", async () => {
    const copy = join(sandbox.directory, 'node_modules', 'tailrace')
    await rm(copy)
    const isUsed = (path: string) => !path.includes('/dist/cli') && !/\.(map|d\.ts)$/.test(path)
    await cp(join(root, 'dist'), join(copy, 'dist'), { recursive: true, filter: isUsed })
    await copyFile(join(root, 'package.json'), join(copy, 'package.json'))
    await symlink(join(root, 'node_modules'), join(copy, 'node_modules'))
    const { code, stderr } = await flow('run', 'flow.mjs')
    expect([code, told(stderr).at(-1)]).toEqual([0, '6 made, 0 found, 0 failed, 0 skipped'])
    // The errors of that copy are known, too.
    failed(await flow('why', 'flow.mjs', 'rows', '--flow', 'other'), 'ENOENT')
  })

  it('runs targets of a file without a project, and refuses those of another copy', async () => {
    const outside = await mkdtemp(join(tmpdir(), 'tailrace-flow-'))
    try {
      const from = JSON.stringify(join(root, 'dist/flow/flow.js'))
      const file = join(outside, 'flow.mjs')
      await writeFile(
        file,
        `import { target } from ${from}\nexport const one = target('one', [], () => 1)`,
      )
      const { code, stderr } = await flow('run', file)
      expect([code, told(stderr)]).toEqual([
        0,
        ['made one', '1 made, 0 found, 0 failed, 0 skipped'],
      ])
    } finally {
      await rm(outside, { recursive: true })
    }
    await write('other.mjs', `export const one = { type: 'target', name: 'one' }`)
    const other = await flow('run', 'other.mjs')
    failed(other, 'EINVAL')
    expect(other.stderr).toMatch(/the target one was not made by .*dist\/flow\/flow\.js/)
  })

  it('runs out of time with --timeout, and tells what runs', async () => {
    await write(
      'slow.mjs',
      `import { target, targetSignal } from 'tailrace/flow'
      export const slow = target('slow', [], () => {
        const signal = targetSignal()
        return new Promise((_, reject) => signal.addEventListener('abort', () => {
          console.log('told')
          reject(signal.reason)
        }))
      })`,
    )
    const { code, stdout, stderr } = await flow('run', 'slow.mjs', '--timeout', '3s')
    expect([code, stdout]).toEqual([5, 'told\n'])
    expect(stderr).toMatch(/^tailrace: ETIMEDOUT: /m)
  })

  it('runs TypeScript with the tsx of its project, and says what it needs without', async () => {
    const typed = pipeline.replace('./rows.mjs', './rows.js').replace('(count)', '(count: number)')
    await write('flow.ts', typed)
    await write('rows.ts', rowsModule.replace('(count)', '(count: number)'))
    if (!('typescript' in process.features)) {
      const without = await flow('run', 'flow.ts')
      failed(without, 'EINVAL')
      expect(without.stderr).toContain('npm install --save-dev tsx')
    }
    await symlink(join(root, 'node_modules/tsx'), join(sandbox.directory, 'node_modules/tsx'))
    const { code, stderr } = await flow('run', 'flow.ts')
    expect([code, told(stderr).at(-1)]).toEqual([0, '6 made, 0 found, 0 failed, 0 skipped'])
    await write('rows.ts', `${rowsModule.replace('(count)', '(count: number)')}// edited\n`)
    expect((await flow('why', 'flow.ts', 'rows')).stdout).toMatch(/^module\.files\["rows\.ts"\]: /)
    const again = await flow('run', 'flow.ts', '--workers', '1')
    expect([again.code, told(again.stderr).at(-1)]).toEqual([
      0,
      '6 made, 0 found, 0 failed, 0 skipped',
    ])
    failed(await flow('run', 'flow.ts', '--threads', '1'), 'EINVAL')
  })

  it('an interrupt ends the run by its signal once what runs has ended; a second one at once', async () => {
    await write(
      'slow.mjs',
      `import { target, targetSignal } from 'tailrace/flow'
      const never = () => new Promise(() => setInterval(() => {}, 1_000))
      export const listens = target('listens', [process.env.DEAF ?? ''], async () => {
        console.log('begun')
        const signal = targetSignal()
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
        console.log('told')
        if (process.env.DEAF) await never()
        console.log('ended')
      })
      export const later = target('later', [listens], () => 1)`,
    )
    const polite = sandbox.start(['flow', 'run', 'slow.mjs'])
    const ended = polite.ended()
    await once(polite.child.stdout, 'data')
    polite.child.kill('SIGINT')
    expect(await ended).toMatchObject({ code: 130, stdout: 'begun\ntold\nended\n' })
    const deaf = sandbox.start(['flow', 'run', 'slow.mjs'], { env: { DEAF: '1' } })
    const killed = deaf.ended()
    await once(deaf.child.stdout, 'data')
    deaf.child.kill('SIGTERM')
    await once(deaf.child.stdout, 'data')
    deaf.child.kill('SIGTERM')
    expect(await killed).toMatchObject({ signal: 'SIGTERM', stdout: 'begun\ntold\n' })
  })
})

describe('flow outdated and why', () => {
  it('outdated lists what a run would make, before it and after', async () => {
    expect((await flow('outdated', 'flow.mjs')).stdout).toBe(
      'rows  new\nsquares  inputs\ntotal  inputs\nsize  inputs\n',
    )
    expect((await flow('outdated', 'flow.mjs', '--exit-code', 'size')).code).toBe(1)
    expect((await flow('run', 'flow.mjs')).code).toBe(0)
    const after = await flow('outdated', 'flow.mjs', '--exit-code')
    expect([after.code, after.stdout, after.stderr]).toEqual([0, '', ''])
    const elsewhere = await flow('outdated', 'flow.mjs', 'size', '--flow', 'other', '--json')
    expect([elsewhere.code, JSON.parse(elsewhere.stdout)]).toEqual([0, []])
    expect((await flow('outdated', 'flow.mjs', '--layer', 'none')).code).toBe(3)
  })

  it('why names the imported file that was edited', async () => {
    failed(await flow('why', 'flow.mjs', 'rows'), 'ENOENT')
    expect((await flow('run', 'flow.mjs')).code).toBe(0)
    expect(await flow('why', 'flow.mjs', 'rows')).toMatchObject({ code: 0, stdout: '' })
    await write('rows.mjs', `${rowsModule}// edited\n`)
    const { code, stdout } = await flow('why', 'flow.mjs', 'rows')
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(/^module\.files\["rows\.mjs"\]: "[0-9a-f]{64}" → "[0-9a-f]{64}"\n$/),
    ])
    const { differences } = JSON.parse((await flow('why', 'flow.mjs', 'rows', '--json')).stdout)
    expect(differences).toMatchObject([{ path: 'module.files["rows.mjs"]' }])
    expect((await flow('outdated', 'flow.mjs', 'size')).stdout).toBe(
      'rows  changed\nsize  inputs\n',
    )
    failed(await flow('why', 'flow.mjs', 'size'), 'ECONFLICT')
  })
})

describe('flow graph', () => {
  it('draws what depends on what, without a store', async () => {
    const env = { TAILRACE_DATA: join(sandbox.directory, 'none') }
    const graph = (...args: readonly string[]) =>
      sandbox.ok(['flow', 'graph', 'flow.mjs', ...args], { env })
    expect(await graph()).toBe('rows\nsquares[*]\n  rows\ntotal\n  squares\nsize\n  rows\n')
    expect(await graph('size', '--mermaid')).toBe(
      'flowchart LR\n  t0["rows"]\n  t1["size"]\n  t0 --> t1\n',
    )
    expect(JSON.parse(await graph('size', '--json'))).toEqual([
      { target: 'rows', hasBranches: false, inputs: [] },
      { target: 'size', hasBranches: false, inputs: ['rows'] },
    ])
    failed(await flow('graph', 'flow.mjs', 'none'), 'EINVAL')
    expect(existsSync(env.TAILRACE_DATA)).toBe(false)
  })
})

describe('flow ls and show', () => {
  it('ls tells how the newest runs ended, and what they made', async () => {
    failed(await flow('ls'), 'ENOENT')
    await flow('run', 'flow.mjs')
    await sandbox.call(['flow', 'run', 'flow.mjs', '--keep-going'], { env: { BROKEN: '1' } })
    const edited = pipeline.replace("'no total today'", "'none'")
    await write('flow.mjs', edited)
    await sandbox.call(['flow', 'run', 'flow.mjs', '--keep-going'], { env: { BROKEN: '1' } })
    const lines = (await flow('ls', '--utc')).stdout.trimEnd().split('\n')
    expect(lines).toEqual([
      expect.stringMatching(
        /^r[0-9a-v]{15} {2}\d{4}-\S+Z +[\d.]+ m?s {2}failed {4}5 made, 0 found, 1 failed, 0 skipped$/,
      ),
      expect.stringMatching(/ {2}ok {8}0 made, 6 found, 0 failed, 0 skipped$/),
      expect.stringMatching(/ {2}ok {8}6 made, 0 found, 0 failed, 0 skipped$/),
    ])
    const { runs } = JSON.parse((await flow('ls', '--json', '--limit', '2')).stdout)
    expect(runs).toMatchObject([
      { run: lines[0]?.slice(0, 16), state: 'failed', made: 5, failed: 1, ms: expect.any(Number) },
      { run: lines[1]?.slice(0, 16), state: 'ok', found: 6, begin: expect.any(Number) },
    ])
    failed(await flow('ls', '--flow', 'other'), 'ENOENT')
  })

  it('show prints the events of a run, and follows one that goes on; ls tells that it runs', async () => {
    await write(
      'gate.mjs',
      `import { target } from 'tailrace/flow'
      export const gate = target('gate', [], () => new Promise((resolve) => process.stdin.once('data', () => resolve(1))))`,
    )
    const running = sandbox.start(['flow', 'run', 'gate.mjs'])
    const ended = running.ended()
    const newest = async () => (await flow('ls')).stdout.slice(0, 16)
    await expect.poll(async () => (await flow('ls')).stdout).toMatch(/ {2}running {3}0 made, /)
    const id = await newest()
    const following = sandbox.start(['flow', 'show', id, '--follow'])
    const followed = following.ended()
    await once(following.child.stdout, 'data')
    running.child.stdin.end('go\n')
    expect((await ended).code).toBe(0)
    const names = (stdout: string) =>
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).name)
    expect(names((await followed).stdout)).toEqual(['begin', 'start', 'finish', 'end'])
    expect(await flow('show', id)).toMatchObject({ code: 0, stdout: (await followed).stdout })
    expect((await flow('ls')).stdout).toMatch(/ {2}ok {8}1 made, /)
    failed(await flow('show', 'r0'), 'EINVAL')
    failed(await flow('show', 'r00000000000000a'), 'ENOENT')
    failed(await flow('show', id, '--flow', 'other'), 'ENOENT')
  })
})

describe('flow status', () => {
  it('tells what became of the targets of a run, and of those that did not begin', async () => {
    failed(await flow('status'), 'ENOENT')
    await sandbox.call(['flow', 'run', 'flow.mjs', 'total', '-j', '1'], { env: { BROKEN: '1' } })
    const { stdout } = await flow('status', '--utc', '--targets')
    expect(stdout.replace(/ +[\d.]+ m?s/g, ' TIME')).toMatch(
      /^r[0-9a-v]{15} {2}failed {2}\d{4}-\S+Z TIME {2}flow\.mjs total\n100 % {2}4 made, 1 failed\nfailed {2}total {2}no total today\nmade {2}rows\nmade {2}squares\nfailed {2}total\n$/,
    )
    const status = JSON.parse((await flow('status', stdout.slice(0, 16), '--json')).stdout)
    expect(status).toMatchObject({
      ...{ state: 'failed', percent: 100, path: [], concurrency: 1 },
      counts: { made: 4, found: 0, failed: 1, skipped: 0, running: 0, waiting: 0 },
      failures: [{ target: 'total', message: 'no total today' }],
    })
    failed(await flow('status', 'r00000000000000a'), 'ENOENT')
  })

  it('--follow tells each change until the run ends, what runs, and what is left', async () => {
    await write(
      'gate.mjs',
      `import { target } from 'tailrace/flow'
      const first = target('first', [], () => 1)
      const gate = target('gate', [first], () => new Promise((resolve) => process.stdin.once('data', () => resolve(1))))
      export const last = target('last', [gate], () => 1)`,
    )
    const running = sandbox.start(['flow', 'run', 'gate.mjs'])
    const ended = running.ended()
    await expect.poll(async () => (await flow('status')).stdout).toMatch(/^runs {4}gate {2}/m)
    const { stdout } = await flow('status')
    expect(stdout).toMatch(
      /^ *\d+ % .*1 made, 0 found, 0 failed, 0 skipped, 1 running, 1 waiting$/m,
    )
    expect(stdout).toMatch(/^longest path: gate → last$/m)
    const following = sandbox.start(['flow', 'status', '--follow'])
    const followed = following.ended()
    await once(following.child.stdout, 'data')
    running.child.stdin.end('go\n')
    expect((await ended).code).toBe(0)
    const { code, stdout: lines } = await followed
    expect([code, lines]).toEqual([
      0,
      expect.stringMatching(/^r[0-9a-v]{15} {2}ok .*\n100 % {2}3 made\n$/m),
    ])
    expect(lines).toMatch(/^ *\d+ % .* 1 made, .* 1 running, 1 waiting\n/)
  })
})

describe('flow plan', () => {
  it('lists what a run would do, with times, and predicts more workers', async () => {
    const told = async (...args: readonly string[]) => {
      const { code, stdout, stderr } = await flow('plan', 'flow.mjs', ...args)
      expect([code, stderr]).toEqual([0, ''])
      return stdout.replace(/ *[\d.]+ m?s\b/g, ' T')
    }
    expect(await told('size', '-j', '1')).toBe(
      ' T T  rows\n T T  size\n2 to make, 0 found; with -j 1 about T; 2 of them were never made: mean times\n' +
        'work T, longest path T: rows T → size T\n',
    )
    expect((await flow('run', 'flow.mjs', '-j', '2')).code).toBe(0)
    expect(await told('total')).toBe('nothing to make, 5 found\n')
    await write('rows.mjs', `${rowsModule}// edited\n`)
    expect(await told('total', '-j', '1')).toContain('\n5 to make, 0 found; with -j 1 about T\n')
    expect(await told('total', '--predict', '2')).toMatch(
      /\nworkers {7}time {2}load\n {6}1 T {2}100 %\n {6}2 T {2}\d+ \d+ %\nmore than (1|2) workers (may be|are) of /,
    )
    const { calls } = JSON.parse((await flow('plan', 'flow.mjs', '--json')).stdout)
    expect(calls[0]).toMatchObject({ target: 'rows', from: 0, worker: 0 })
    expect((await flow('run', 'flow.mjs', '-j', '2')).code).toBe(0)
    expect((await flow('status')).stdout).toMatch(/^predicted [\d.]+ m?s, took .* \([+-]\d+ %\)$/m)
    expect((await flow('plan', 'flow.mjs', '--predict', '257')).code).toBe(2)
  })
})

describe('flow report', () => {
  it('writes a page with what became of the targets of a run', async () => {
    failed(await flow('report', '--html', 'run.html'), 'ENOENT')
    expect((await flow('report')).code).toBe(2)
    await sandbox.call(['flow', 'run', 'flow.mjs', 'total'], { env: { BROKEN: '1' } })
    const html = join(sandbox.directory, 'run.html')
    expect(await flow('report', '--html', html)).toMatchObject({ code: 0, stdout: '', stderr: '' })
    const [, json = ''] =
      /<script type="application\/json" id="data">(.*)<\/script>/.exec(
        await readFile(html, 'utf8'),
      ) ?? []
    const { status, nodes, calls, path } = JSON.parse(json)
    expect(status).toMatchObject({ state: 'failed', failures: [{ target: 'total' }] })
    const states = nodes.map(({ name, state }: Readonly<Record<string, string>>) => [name, state])
    expect(states).toEqual([
      ['rows', 'made'],
      ['squares', 'made'],
      ['total', 'failed'],
    ])
    expect(calls.length).toBe(5)
    expect(path).toEqual([0, 1])
    failed(await flow('report', '--html', join(sandbox.directory, 'none', 'run.html')), 'ENOENT')
  })
})
