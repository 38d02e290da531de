/** Completion of command lines: what is offered, and what bash makes of it (zsh and fish where they are installed). See
 *  rfc/13, rule 30. */

import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import { openCache } from '../../src/cache/cache.js'
import { candidatesFor, candidatesMax } from '../../src/cli/candidates.js'
import { type Command, longFlag } from '../../src/cli/command.js'
import { commandGroups } from '../../src/cli/commands.js'
import { readWord, typedLike } from '../../src/cli/shell-word.js'
import { open } from '../../src/open.js'
import { mainFile, Sandbox } from '../support/sandbox.js'

const commands = commandGroups.flatMap((group) => group.commands)

/** The candidates for the last word, or the kind of what the shell finds itself. */
async function offered(
  words: readonly string[],
  store?: Store,
): Promise<readonly string[] | string> {
  const found = await candidatesFor(commands, words, async () => store)
  return found.kind === 'words' ? found.words.map(({ text }) => text) : found.kind
}

describe('candidates', () => {
  it.each([
    ['commands by their beginning', ['at'], ['attach']],
    ['children of a group', ['ns', 's'], ['show']],
    ['no child behind an argument', ['jobs', 'rm', 'id', 'r'], []],
    [
      'options by their beginning',
      ['put', 'k', '--idem'],
      ['--idempotency-key', '--idempotency-since'],
    ],
    ['no option twice', ['put', '--ttl', '1s', '--tt'], []],
    ['an option that may be given many times', ['run', '--env', 'A=b', '--en'], ['--env']],
    ['options of the child only', ['ns', 'create', '--fr'], ['--from']],
    ['no hidden option', ['serve', '--bac'], []],
    ['no option behind --', ['put', '--', '--t'], []],
    ['no option of ours behind the command of a job', ['run', 'ls', '-'], 'files'],
    ['the words of an option', ['watch', '--mode', ''], ['append', 'value', 'changes']],
    ['the words of an option behind =', ['watch', '--mode=v'], ['--mode=value']],
    ['one of some words', ['jobs', '--state', 'f'], ['finished', 'failed']],
    [
      'one more of some words',
      ['jobs', '--state=lost,f'],
      ['--state=lost,finished', '--state=lost,failed'],
    ],
    ['the version', ['--v'], ['--version']],
    ['the command whose help is shown', ['help', 'at'], ['attach']],
    ['signals', ['signal', 'id', 'SIGK'], ['SIGKILL']],
    ['colours before the command', ['--color', 'a'], ['auto', 'always']],
    ['nothing for a number', ['get', '--index', ''], []],
    ['colours behind it', ['ls', '--color='], ['--color=auto', '--color=always', '--color=never']],
    ['shells', ['completion', ''], ['bash', 'zsh', 'fish']],
    ['files', ['put', 'k', '--file', 'x'], 'files'],
    ['files of an argument', ['verify', ''], 'files'],
    ['directories', ['get', '--data=x'], 'directories'],
    ['the program of a job', ['run', '--env', 'A=b', '--', 'ma'], 'commands'],
    ['files of a program', ['lease', 'run', 'key', '--', 'make', '-f'], 'files'],
    ['what follows short options', ['tail', '-fn', '3', 'k', '--by'], ['--bytes']],
    [
      'a value that may be left out',
      ['serve', '--idle-exit', '--listen', 'x', '--job'],
      ['--jobs'],
    ],
  ])('%s', async (_, words, expected) => {
    expect(await offered(words)).toEqual(expected)
  })

  it('of each command are exactly its declared options', async () => {
    const check = async (path: readonly string[], command: Command): Promise<void> => {
      const shown = Object.values(command.options).filter(({ hidden }) => hidden !== true)
      const flags = [...shown.map(({ flags }) => longFlag(flags)), '--color', '--help']
      expect([path, await offered([...path, '-'])]).toEqual([path, flags])
      for (const child of command.commands ?? []) await check([...path, child.name], child)
    }
    for (const command of commands) await check([command.name], command)
    const names = commands.filter(({ hidden }) => hidden !== true).map(({ name }) => name)
    expect(await offered([''])).toEqual([...names, 'help'])
    expect(await offered(['help', ''])).toEqual(names)
  })
})

describe('keys', () => {
  let store: Awaited<ReturnType<typeof open>>
  beforeAll(async () => {
    store = await open({})
    for (const key of ['log', 'log:a', 'logs/one', 'logs/two', 'evil\x1b[2J'])
      await store.put(key, '')
  })
  afterAll(() => store[Symbol.asyncDispose]())

  it('are offered level by level, whole names too, and none that a terminal acts on', async () => {
    expect(await offered(['get', ''], store)).toEqual(['log', 'log:a', 'logs/'])
    expect(await offered(['get', 'log'], store)).toEqual(['log', 'log:a', 'logs/'])
    expect(await offered(['get', 'logs'], store)).toEqual(['logs/'])
    expect(await offered(['get', 'logs/t'], store)).toEqual(['logs/two'])
    expect(await offered(['rm', 'log', 'logs/o'], store)).toEqual(['logs/one'])
    expect(await offered(['get', 'none'], store)).toEqual([])
  })

  it('are those of the namespace that is named', async () => {
    await store.namespaces.create('other')
    await store.put('there', '', { namespace: 'other' })
    for (const words of [['-n', 'other'], ['--namespace=other'], ['-nother']]) {
      expect(await offered(['get', ...words, ''], store)).toEqual(['there'])
    }
    expect(await offered(['get', '-n', 'o'], store)).toEqual(['other'])
  })

  it('of the cache are offered as layers and ids of results', async () => {
    const cache = openCache(store)
    await cache.cached({ task: 1 }, () => 1)
    await cache.layers.create('pr', { parent: 'main' })
    await openCache(store, { layer: 'pr' }).cached({ task: 2 }, () => 2)
    const id = async (task: number, layer: string) =>
      (await openCache(store, { layer }).load({ task }))?.result.id
    expect(await offered(['cache', 'ls', '--layer', ''], store)).toEqual(['main', 'pr'])
    expect(await offered(['cache', 'show', ''], store)).toEqual([await id(1, 'main')])
    const words = ['cache', 'why', '--layer', 'pr', 'a', (await id(2, 'pr'))?.slice(0, 3) ?? '']
    expect(await offered(words, store)).toEqual([await id(2, 'pr')])
    await store.namespaces.remove('cache-pr')
  })

  it.each([
    ['all alike', 'k/k', (at: number) => `k${String(at).padStart(5, '0')}`],
    ['in two bunches', 'b/', (at: number) => (at < 1_500 ? `a${at}` : `b${at}`)],
    ['with one that has the beginning alone', 'o/x', (at: number) => (at === 0 ? 'x' : `xx${at}`)],
    ['beyond the basic plane', 'u/', (at: number) => `${at < 2_000 ? '😀' : '😁'}${at}`],
  ])('that are many, %s, are cut without loss', async (_, typed, nameOf) => {
    const directory = typed.slice(0, 2)
    const names = Array.from({ length: 2_500 }, (__, at) => `${directory}${nameOf(at)}`)
    for (let at = 0; at < names.length; at += 500) {
      const ops = names.slice(at, at + 500).map((key) => ({ op: 'put', key, value: '' }) as const)
      await store.commit({ ops })
    }
    const found = await offered(['get', typed], store)
    expect(found.length).toBeLessThan(candidatesMax + 20)
    expect(found.length).toBeGreaterThanOrEqual(candidatesMax)
    for (const each of found) expect(names).toContain(each)
    expect(common(found as string[])).toBe(common(names))
  })
})

/** The characters that all have in common at their beginnings. */
function common(names: readonly string[]): string {
  const [first = ''] = names
  const characters = [...first]
  const end = characters.findIndex((__, at) => {
    return !names.every((name) => name.startsWith(characters.slice(0, at + 1).join('')))
  })
  return characters.slice(0, end < 0 ? undefined : end).join('')
}

describe('words of a shell', () => {
  it('are read as they are written', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.constantFrom('', '"', "'"), (text, quote) => {
        expect(readWord(quote + typedLike(text, quote)).text).toBe(text)
      }),
    )
  })

  it('are read by bash as they are written', () => {
    const texts = fc
      .sample(fc.string({ unit: fc.constantFrom(...` '"\\$\`!*?~#=:;&|<>()[]{}aé😀`) }), 200)
      .filter((text) => text !== '')
    const lines = texts.map((text) => `printf '%s\\n' ${typedLike(text, '')}`)
    const read = execFileSync('bash', ['-c', lines.join('\n')], { encoding: 'utf8' })
    expect(read).toBe(texts.map((text) => `${text}\n`).join(''))
  })
})

describe('tailrace __complete', () => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = await Sandbox.make()
  })
  afterAll(() => sandbox.remove())

  const complete = (words: readonly string[]) => sandbox.call(['__complete', '--', ...words])

  it('prints the kind, then candidates with their summaries', async () => {
    expect((await complete(['ver'])).stdout).toBe(
      'words\nverify\tcheck the file of an export, without a store\nversion\tshow the versions of the program, of Node, and of the server that runs\n',
    )
    expect((await complete(['verify', ''])).stdout).toBe('files\n')
    expect((await complete([])).stdout).toMatch(/^words\nget\t/)
  })

  it('without a server says nothing of it, starts none and makes nothing', async () => {
    const nowhere = ['--url', 'http://127.0.0.1:1']
    for (const words of [
      ['get', ''],
      ['attach', ''],
      ['get', ...nowhere, ''],
      ['get', '--url=x', ''],
    ]) {
      const { code, stdout, stderr } = await complete(words)
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(stdout.replace(/^words\n/, '')).toBe('')
    }
    expect(await readdir(sandbox.directory)).toEqual([])
  })

  it('gives up a server that says nothing', async () => {
    const silent = createServer(() => {}).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    const started = performance.now()
    const ended = await complete(['get', '--url', `http://127.0.0.1:${port}`, ''])
    expect(ended).toMatchObject({ code: 0, stdout: '', stderr: '' })
    expect(performance.now() - started).toBeLessThan(6_000) // The client alone waits for 30 s.
    silent.close()
  })
})

const keys = [
  'my key',
  "it's",
  'say "x"',
  'a:b',
  'a:bc',
  'user@host',
  'x=y',
  '$x*',
  'grüße',
  '日本/one two',
]

/** A line to complete, and all that is offered for its last word. */
const lines: readonly (readonly [words: readonly string[], offered: readonly string[]])[] = [
  [['att'], ['attach']],
  [['get', 'my'], ['my key']],
  [['get', 'my\\ '], ['my key']],
  [['get', '"my k'], ['my key']],
  [['get', "it\\'"], ["it's"]],
  [['get', 'say'], ['say "x"']],
  [
    ['get', 'a:'],
    ['a:b', 'a:bc'],
  ],
  [['get', 'a:bc'], ['a:bc']],
  [['get', 'user@'], ['user@host']],
  [['get', 'x='], ['x=y']],
  [['get', '\\$'], ['$x*']],
  [['get', 'gr'], ['grüße']],
  [['get', '日本/o'], ['日本/one two']],
  [['watch', '--mode=a'], ['--mode=append']],
  [['get', 'none'], []],
]

/** Scripts that print what a shell is offered for the words in `$@`, one on each line, read back as the shell would. */
const shells = {
  bash: `
    tailrace() { "$NODE" "$MAIN" "$@"; }
    eval "$SCRIPT"
    COMP_WORDS=(tailrace) IFS=
    while read -r -d '' word; do COMP_WORDS+=("$word"); done < <(
      for word; do
        [[ $word == \\"* ]] && printf '%s\\0' "$word" && continue
        printf %s "$word" | sed -E 's/[:=@]+/\\x00&\\x00/g; s/\\x00$//'; printf '\\0'
      done)
    COMP_LINE=tailrace COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
    for word; do COMP_LINE+=" $word"; done
    _tailrace
    last=\${COMP_WORDS[-1]} kept=\${!#}
    [[ $last =~ ^[:=]+$ ]] && last=
    [[ \${COMP_WORDS[-2]} == @ ]] && last=@$last
    kept=\${kept%"$last"}
    [[ $last == \\"* ]] && kept='"' end='"'
    for word in "\${COMPREPLY[@]}"; do eval "printf '%s\\n' $kept$word$end"; done`,
  zsh: `
    tailrace() { "$NODE" "$MAIN" "$@" }
    compdef() { : }
    compadd() { [[ $@[-2] == -a ]] && print -rl -- "\${(@P)@[-1]}" | sed '/^$/d' }
    eval "$SCRIPT"
    words=(tailrace "$@") CURRENT=$(( $# + 1 )) PREFIX=\${@[-1]#\\"}
    _tailrace`,
  fish: `
    function tailrace; $NODE $MAIN $argv; end
    eval "$SCRIPT"
    complete -C "tailrace $argv" | string replace -r '\\t.*' ''
    true`,
} as const

function isInstalled(shell: string): boolean {
  return execFileSync('sh', ['-c', `command -v ${shell} || true`]).length > 0
}

describe.each(Object.entries(shells).filter(([shell]) => isInstalled(shell)))(
  '%s',
  (shell, script) => {
    let sandbox: Sandbox
    let completion: string
    beforeAll(async () => {
      sandbox = await Sandbox.make()
      completion = await sandbox.ok(['completion', shell])
      for (const key of keys) await sandbox.ok(['put', key, ''])
    })
    afterAll(() => sandbox.remove())

    it.each(lines)('%j', async (words, expected) => {
      const env = {
        ...process.env,
        NODE: process.execPath,
        MAIN: mainFile,
        SCRIPT: completion,
        TAILRACE_DATA: sandbox.data,
      }
      const name = shell === 'fish' ? [] : ['script']
      const printed = execFileSync(shell, ['-c', script, ...name, ...words], {
        encoding: 'utf8',
        env: { ...env, LC_ALL: 'C.UTF-8' },
      })
      expect(printed.split('\n').slice(0, -1)).toEqual(expected)
    })
  },
)
