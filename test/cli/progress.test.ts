/** Progress of long work: what a terminal gets, when, and that nothing of it stays. See rfc/13, rule 31. */

import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Output } from '../../src/cli/output.js'
import { counted, Progress, transferText } from '../../src/cli/progress.js'
import { mainFile, Sandbox } from '../support/sandbox.js'

const clearLine = '\r\x1b[K'

/** An output of which the test sees each write. */
function outputOf({ isTTY = true, dumb = false, columns = 80 } = {}) {
  const writes: string[] = []
  const stream = new Writable({
    write: (chunk, _, done) => {
      writes.push(String(chunk))
      done()
    },
  })
  return { writes, output: new Output(Object.assign(stream, { isTTY, columns }), { dumb }) }
}

describe('Progress', () => {
  it('draws after half a second, ten times a second at most, and takes its line off', async () => {
    const { writes, output } = outputOf()
    let now = 0
    const progress = new Progress(output, () => now)
    for (now = 0; now <= 1_000; now += 10) await progress.show((ms) => `at ${ms}`)
    expect(writes).toEqual([500, 600, 700, 800, 900, 1_000].map((ms) => `${clearLine}at ${ms}`))
    await progress[Symbol.asyncDispose]()
    expect(writes.at(-1)).toBe(clearLine)
    await progress.clear()
    expect(writes.length).toBe(7)
  })

  it('runs no timer and leaves no listener', async () => {
    const { output } = outputOf()
    const listeners = process.listenerCount('exit')
    let now = 0
    const progress = new Progress(output, () => now)
    now = 1_000
    const before = process.getActiveResourcesInfo().filter((one) => one === 'Timeout').length
    await progress.show(() => 'x')
    expect(process.getActiveResourcesInfo().filter((one) => one === 'Timeout').length).toBe(before)
    expect(process.listenerCount('exit')).toBe(listeners + 1)
    await progress.clear()
    expect(process.listenerCount('exit')).toBe(listeners)
  })

  it('asks for no text, and writes nothing, where no terminal can take a line back', async () => {
    for (const { writes, output } of [outputOf({ isTTY: false }), outputOf({ dumb: true })]) {
      let now = 0
      const progress = new Progress(output, () => now)
      now = 1_000
      await progress.show(() => {
        throw new Error('nobody looks')
      })
      await progress.clear()
      expect(writes).toEqual([])
    }
  })

  it('stays within the line, and writes nothing that a terminal acts on', async () => {
    const { writes, output } = outputOf({ columns: 10 })
    let now = 0
    const progress = new Progress(output, () => now)
    now = 1_000
    await progress.show(() => 'a\nb\x1b[2J and much more')
    expect(writes).toEqual([`${clearLine}a\\nb\\x1b[`])
    await progress.clear()
  })

  it('of a terminal that has gone ends no work', async () => {
    const { output } = outputOf()
    const stream = new Writable({ write: (_, __, done) => done(new Error('gone')) })
    const gone = new Output(Object.assign(stream, { isTTY: true }))
    await gone.write('x').catch(() => {})
    let now = 0
    const progress = new Progress(gone, () => now)
    now = 1_000
    await progress.show(() => 'x')
    await progress.clear()
    expect(output.canRedraw).toBe(true)
  })
})

it('counted() passes on all chunks, and only those', async () => {
  async function* source() {
    yield Buffer.from('one')
    yield Buffer.from('two')
  }
  const passed: string[] = []
  const { output } = outputOf()
  for await (const chunk of counted(source(), output, { title: 'read' })) passed.push(String(chunk))
  expect(passed).toEqual(['one', 'two'])
})

describe('transferText()', () => {
  it.each([
    [{ done: 512, total: undefined, ms: 1_000 }, 'read 512B  512B/s'],
    [{ done: 0, total: 100, ms: 0 }, 'read [........................]   0 %  0B of 100B  0B/s'],
    [
      { done: 50, total: 100, ms: 10_000 },
      'read [############............]  50 %  50B of 100B  5B/s  10 s left',
    ],
    [
      { done: 1_024, total: 1_024 ** 2, ms: 1_000 },
      'read [........................]   0 %  1.0K of 1.0M  1.0K/s  17 min left',
    ],
    [
      { done: 100, total: 100, ms: 1_000 },
      'read [########################] 100 %  100B of 100B  100B/s  0 s left',
    ],
    // A file that grew while it was read.
    [
      { done: 150, total: 100, ms: 1_000 },
      'read [########################] 100 %  150B of 100B  150B/s  0 s left',
    ],
    [
      { done: 0, total: 0, ms: 1 },
      'read [########################] 100 %  0B of 0B  0B/s  0 s left',
    ],
  ])('of %j', (transfer, expected) => {
    expect(transferText({ title: 'read', ...transfer })).toBe(expected)
  })
})

describe('on a terminal, that of a job', () => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = await Sandbox.make()
  })
  afterAll(() => sandbox.remove())

  /** Runs a script of sh on a terminal; `"$0" "$1"` in it is tailrace. */
  const onTerminal = (script: string) => {
    return sandbox.start(['run', '--pty', '--', 'sh', '-c', script, process.execPath, mainFile])
  }

  it('a put that is interrupted takes its line off', async () => {
    const { child, ended } = onTerminal('yes | exec "$0" "$1" put endless -')
    let shown = ''
    child.stdout.on('data', (chunk) => {
      shown += chunk
    })
    while (!/read \d+M {2}/.test(shown)) await once(child.stdout, 'data')
    child.kill('SIGINT')
    const { code } = await ended()
    expect(code).toBe(130)
    const drawn = shown.split(clearLine)
    expect(drawn.at(-1)).not.toContain('read')
    expect(drawn.at(-2)).toMatch(/^read \d+M {2}[\d.]+[KM]\/s$/)
  })

  it('a get whose bytes go elsewhere has a bar', async () => {
    const big = join(sandbox.directory, 'big')
    await writeFile(big, Buffer.alloc(8 * 1024 * 1024))
    await sandbox.ok(['put', 'big', '--file', big])
    // The reader is slow: it writes each byte as three characters.
    const { child, ended } = onTerminal('"$0" "$1" get big | od -v -An -c > /dev/null')
    child.stdin.end()
    const { stdout } = await ended()
    expect(stdout).toMatch(/read \[[#.]{24}\]/)
  })
})
