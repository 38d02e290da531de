/** Commands as targets: what they see, what is collected, how they fail and end. See rfc/24, rule 34. */

import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, expectTypeOf, it } from 'vitest'
import type { CommandSpec, FlowEvent, Target } from '../../src/api/flow.js'
import {
  command,
  commands,
  directory as directoryOf,
  element,
  file,
  run,
  target,
  why,
} from '../../src/flow/flow.js'
import { open } from '../../src/open.js'
import { same } from './reopen-functions.js'

const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
const sh = (script: string) => ['sh', '-c', script]

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-command-test-'))
})
afterEach(() => rm(directory, { recursive: true }))

describe('command()', () => {
  it('gives its stdout, or the files that it has made', async () => {
    const path = join(directory, 'words.txt')
    await writeFile(path, 'b\na\nb\n')
    const sorted = command('sorted', {
      run: ['sort', '-u', 'in/words'],
      in: { 'in/words': file(path) },
    })
    expectTypeOf(sorted).toEqualTypeOf<Target<Uint8Array>>()
    const counted = command('counted', { run: ['wc', '-l'], stdin: sorted })
    const parts = command('parts', {
      run: sh('head -n 1 < all > out/first; tail -n 1 all > last; echo not told'),
      in: { all: sorted },
      out: { first: 'out/first', last: 'last' },
    })
    expectTypeOf(parts).toEqualTypeOf<Target<{ first: Uint8Array; last: Uint8Array }>>()
    const made = await run({ sorted, counted, parts }).result
    expect(textOf(made.sorted)).toBe('a\nb\n')
    expect(textOf(made.counted).trim()).toBe('2')
    expect(textOf(made.parts.first) + textOf(made.parts.last)).toBe('a\nb\n')
    const maybe = command('maybe', { run: ['true'] }, { onError: 'null' })
    expectTypeOf(maybe).toEqualTypeOf<Target<Uint8Array | null>>()
  })

  it('sees what was declared, and nothing else', async () => {
    const name = target('name', [], () => 'text of a target')
    const seen = command('seen', {
      run: sh(
        'find . -type f | sort; cat a/b; env | grep -v -e PWD -e SHLVL -e ^_= | sort; pwd; cat',
      ),
      in: { 'a/b': name, c: 'text\n' },
      env: { COLOR: 'blue', a: '' },
    })
    const [b, c, text, ...more] = textOf(await run(seen).result).split('\n')
    expect([b, c]).toEqual(['./a/b', './c'])
    expect([text, ...more.slice(0, 2)]).toEqual([
      ...['text of a targetCOLOR=blue', 'PATH=/usr/local/bin:/usr/bin:/bin', 'a='],
    ])
    // Nothing of its directory is left.
    expect(existsSync(more[2] ?? '/')).toBe(false)
  })

  it('runs in a directory within its own', async () => {
    const within = command('within', {
      run: ['sh', '-c', 'cat ../../in; echo made > made; pwd'],
      in: { in: 'content\n' },
      cwd: 'a/b',
    })
    const [content, path] = textOf(await run(within).result).split('\n')
    expect([content, path?.endsWith('/a/b')]).toEqual(['content', true])
    const out = command('out', {
      ...{ run: ['sh', '-c', 'echo made > made'], cwd: 'a', out: { made: 'a/made' } },
    })
    expect(textOf((await run(out).result).made)).toBe('made\n')
    expect(() => command('bad', { run: ['true'], cwd: '../a' })).toThrow('within its directory')
    const stdin = directoryOf('a')
    expect(() => command('bad', { run: ['true'], stdin })).toThrow('no directory')
  })

  it('fails with the end of stderr, and for what is not there', async () => {
    const failing = async (spec: CommandSpec<undefined>) => {
      await run(command('bad', spec)).result
    }
    const noise = sh('yes noise | head -n 5000 >&2; echo at last >&2; exit 3')
    await expect(failing({ run: noise })).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(
        /^command bad ended with the exit code 3: [\s\S]{4000,4096}at last$/,
      ),
    })
    await expect(failing({ run: sh('kill -9 $$') })).rejects.toThrow('ended by SIGKILL')
    await expect(failing({ run: ['no-such-program'] })).rejects.toMatchObject({ code: 'ENOENT' })
    const out = command('none', { run: ['true'], out: { all: 'a/b' } })
    await expect(run(out).result).rejects.toMatchObject({
      code: 'EINVAL',
      message: expect.stringContaining('command none has not made its output a/b'),
    })
    // One that reads nothing of its stdin is as others.
    const deaf = command('deaf', { run: ['true'], stdin: 'x'.repeat(1_000_000) })
    expect((await run(deaf).result).length).toBe(0)
  })

  it.each<CommandSpec>([
    { run: [] },
    { run: [''] },
    { run: ['x'], in: { '../a': '' } },
    { run: ['x'], in: { '/a': '' } },
    { run: ['x'], out: { a: 'b//c' } },
    { run: ['x'], env: { A: 1 as unknown as string } },
    { run: ['x'], in: { a: new Date() as unknown as string } },
  ])('refuses %j', (spec) => {
    expect(() => command('c', spec)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })

  it('is run again if its arguments, its variables or the content of a file differ', async () => {
    await using store = await open()
    const path = join(directory, 'in.txt')
    await writeFile(path, 'one\n')
    const copied = (argument = 'in', value = '1') => {
      const spec = { run: ['cat', argument], in: { in: file(path) }, env: { VALUE: value } }
      return command('copied', spec)
    }
    const told = async (wanted: Target<Uint8Array>) => {
      const flow = run(wanted, { store })
      const events: FlowEvent[] = []
      for await (const event of flow) events.push(event)
      return [events[0]?.type, textOf(await flow.result)]
    }
    expect(await told(copied())).toEqual(['start', 'one\n'])
    expect(await told(copied())).toEqual(['hit', 'one\n'])
    await writeFile(path, 'two\n')
    const differences = await why(copied('./in'), { store })
    expect(differences.map(({ path }) => path).sort()).toEqual([
      ...['inputs[0].value.run[1]', 'inputs[1].fields.in.fields.path.hash'],
    ])
    expect(await told(copied())).toEqual(['start', 'two\n'])
    expect((await told(copied('./in')))[0]).toBe('start')
    expect((await told(copied('in', '2')))[0]).toBe('start')
    expect((await told(copied('in', '2')))[0]).toBe('hit')
  })

  it('takes a directory: its names, contents, links and what can be executed, and no times', async () => {
    await using store = await open()
    const docs = join(directory, 'docs')
    await mkdir(join(docs, 'a/empty'), { recursive: true })
    await writeFile(join(docs, 'a/run'), 'echo ran\n')
    await symlink('a/run', join(docs, 'link'))
    const listed = () => {
      const input = { docs: directoryOf(docs) }
      return command('listed', {
        run: sh('cd docs; find . | sort; ./a/run || cat link'),
        in: input,
      })
    }
    const made = async () => {
      const flow = run(listed(), { store })
      for await (const { type } of flow) if (type !== 'finish') return [type, await flow.result]
      return []
    }
    const names = './a\n./a/empty\n./a/run\n./link\n'
    expect(await made()).toEqual(['start', Uint8Array.from(Buffer.from(`.\n${names}echo ran\n`))])
    await utimes(join(docs, 'a/run'), 1, 1)
    expect((await made())[0]).toBe('hit')
    await chmod(join(docs, 'a/run'), 0o755)
    expect(await made()).toEqual(['start', Uint8Array.from(Buffer.from(`.\n${names}ran\n`))])
    for (const change of [
      () => writeFile(join(docs, 'a/run'), 'echo other\n'),
      () => rm(join(docs, 'a/empty'), { recursive: true }),
      () => rm(join(docs, 'link')).then(() => symlink('a', join(docs, 'link'))),
    ]) {
      await change()
      expect((await made())[0]).toBe('start')
      expect((await made())[0]).toBe('hit')
    }
    const none = run(command('none', { run: ['true'], in: { a: directoryOf('/no/such') } }), {
      store,
    })
    await expect(none.result).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('runs for each element of an array, again for those that differ', async () => {
    await using store = await open()
    const shouted = (words: readonly string[]) =>
      commands('shouted', target('words', [words], same<readonly string[]>), {
        run: ['sh', '-c', 'cat in "$1"; tr a-z A-Z', 'sh', 'd/other'],
        in: { in: element, 'd/other': ' and ' },
        stdin: element,
      })
    expectTypeOf(shouted([])).toEqualTypeOf<Target<Uint8Array[]>>()
    const made = async (words: readonly string[]) => {
      const flow = run(shouted(words), { store })
      const started: string[] = []
      for await (const { type, target } of flow) if (type === 'start') started.push(target)
      return [started.filter((name) => name !== 'words'), (await flow.result).map(textOf)]
    }
    expect(await made(['a', 'b'])).toEqual([
      ['shouted[0]', 'shouted[1]'],
      ['a and A', 'b and B'],
    ])
    expect(await made(['a', 'c'])).toEqual([['shouted[1]'], ['a and A', 'c and C']])
    const listed = commands('listed', target('names', [['x', 'y']], same<readonly string[]>), {
      run: ['echo', element],
    })
    expect((await run(listed).result).map(textOf)).toEqual(['x\n', 'y\n'])
    const bytes = target('bytes', [[new Uint8Array(1)]], same<readonly Uint8Array[]>)
    const bad = run(commands('bad', bytes, { run: ['echo', element] }))
    await expect(bad.result).rejects.toThrow('an element that is an argument must be text')
  })

  it.each(['the signal of the run', 'its time-out'])(
    'ends with all that it started by %s',
    async (by) => {
      const pids = join(directory, 'pids')
      const slow = command(
        'slow',
        { run: sh('sleep 1000 & echo $$ $! > "$PIDS"; wait'), env: { PIDS: pids } },
        by === 'its time-out' ? { timeoutMs: 1_000 } : {},
      )
      const stopping = new AbortController()
      const { result } = run(slow, { signal: stopping.signal })
      result.catch(() => {})
      const started = async () => (existsSync(pids) ? readFile(pids, 'utf8') : '')
      await expect.poll(started, { timeout: 5_000 }).toMatch(/^\d+ \d+\n$/)
      const both = (await started()).trim().split(' ').map(Number)
      if (by !== 'its time-out') stopping.abort()
      const code = by === 'its time-out' ? 'ETIMEDOUT' : 'ECANCELED'
      await expect(result).rejects.toMatchObject({ code })
      await expect.poll(() => both.filter(lives)).toEqual([])
    },
  )

  it('ends what it has left behind, and lets a program clean up that is told to end', async () => {
    const said = join(directory, 'said')
    const env = { SAID: said }
    const read = async () => (existsSync(said) ? readFile(said, 'utf8') : '')
    const leaving = sh('(trap "" TERM; sleep 1000) & echo $! > "$SAID"')
    await run(command('leaving', { run: leaving, env })).result
    const left = Number(await read())
    await expect.poll(() => lives(left)).toBe(false)
    await rm(said)
    const stopping = new AbortController()
    // All of its group is told: the sleep, which runs before it says so, ends, and the shell goes on.
    const tidy = sh(
      'trap : TERM; sleep 1000 & echo began > "$SAID"; wait $!; echo cleaned > "$SAID"',
    )
    const { result } = run(command('tidy', { run: tidy, env }), { signal: stopping.signal })
    result.catch(() => {})
    await expect.poll(read, { timeout: 5_000 }).toBe('began\n')
    stopping.abort()
    await expect(result).rejects.toMatchObject({ code: 'ECANCELED' })
    expect(await read()).toBe('cleaned\n')
  })
})

function lives(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
