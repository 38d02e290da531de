/** The configuration of `serve`: what a file may have, which source wins, and what `--check` says. See rfc/30. */

import { once } from 'node:events'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { longFlag } from '../../src/cli/command.js'
import { fileSizeMax, parseConfiguration, problemsMax } from '../../src/cli/configuration-file.js'
import { nearest } from '../../src/cli/nearest.js'
import { configuredOptions, serveVariables } from '../../src/cli/serve-options.js'
import { CertificateDirectory } from '../server/tls/certificates.js'
import { failed, Sandbox } from '../support/sandbox.js'

function parsed(text: string | Buffer) {
  const file = parseConfiguration(Buffer.from(text), '/etc', configuredOptions)
  return {
    values: Object.fromEntries([...file.values].map(([name, { found }]) => [name, found])),
    problems: file.problems.map(({ line, column, message }) => `${line}:${column}: ${message}`),
  }
}

describe('a configuration file', () => {
  it('has each option in the form of the command line, and paths beside the file', () => {
    const text = `data: /srv/store
listen:
  - 127.0.0.1:7270
  - "[::1]:0"
insecure-listen: true
tls: { cert: cert.pem, key: ../key.pem }
socket:
  path: /run/s.sock
  mode: 0660
allow-origin: [https://a.example]
allow-host: []
idle-exit: 500
jobs: 8
`
    expect(parsed(text)).toEqual({
      problems: [],
      values: {
        data: '/srv/store',
        listen: ['127.0.0.1:7270', '[::1]:0'],
        insecureListen: true,
        tlsCert: '/etc/cert.pem',
        tlsKey: '/key.pem',
        socket: '/run/s.sock',
        socketMode: '0660',
        allowOrigin: ['https://a.example'],
        allowHost: [],
        idleExit: '500',
        jobs: '8',
      },
    })
    expect(parsed('idle-exit: false').values).toEqual({ idleExit: false })
    for (const empty of ['', '# nothing\n', '---\n', 'null\n']) {
      expect(parsed(empty)).toEqual({ values: {}, problems: [] })
    }
  })

  it.each([
    ['a field that is not known', 'jbos: 4', '1:1: jbos: no such field: is it jobs?'],
    ['one of a group', 'tls:\n  crt: x', '2:3: tls.crt: no such field: is it tls.cert?'],
    ['a flag as a field', 'tls-cert: x', '1:1: tls-cert: no such field: is it tls.cert?'],
    ['one far from all', 'colour: red', '1:1: colour: no such field: there are data, listen, '],
    ['a merge key', '<<: {jobs: 1}', '1:1: <<: no such field: there are '],
    ['a field twice', 'jobs: 1\njobs: 2', '2:1: jobs: is given twice'],
    ['a text for a number', 'jobs: "4"', '1:7: jobs: takes a number, not "4"'],
    ['a fraction', 'jobs: 1.5', '1:7: jobs: takes an integer of at least 1, not "1.5"'],
    ['a number for a text', 'data: 4', '1:7: data: takes a text, not 4 (a text may stand in'],
    ['true for a text', 'data: true', '1:7: data: takes a text, not true (a text may stand in'],
    ['a word for a flag', 'insecure-listen: yes', '1:18: insecure-listen: takes true or false, '],
    ['a text for a list', 'listen: a:1', '1:9: listen: takes a list, not "a:1"'],
    ['a list for a text', 'data: [a]', '1:7: data: takes a text, not a list'],
    ['fields for a list', 'listen: {a: 1}', '1:9: listen: takes a list, not fields'],
    ['a text for a group', 'tls: x', '1:6: tls: takes fields (cert, key), not "x"'],
    ['a list for all', '- a', '1:1: the file: takes fields (data, listen, '],
    ['no value', 'jobs: 1\nlisten:\n', '2:1: listen: has no value: give it one'],
    ['no value in a list', 'listen:\n  - a:1\n  -\n', '3:4: listen[1]: has no value'],
    [
      'a wrong item',
      'listen:\n  - a:1\n  - b\n',
      '3:5: listen[1]: takes HOST:PORT or systemd, not "b"',
    ],
    ['a port that is none', 'listen: [a:65536]', '1:10: listen[0]: takes HOST:PORT or systemd, '],
    ['a wrong mode', 'socket:\n  mode: 0777', '2:9: socket.mode: takes 0600, 0660 or 0666, not '],
    ['a home directory', 'data: ~/x', '1:7: data: "~" is not expanded: '],
    ['a tab', 'listen:\n\t- a:1', '2:1: tabs are not allowed as indentation'],
    ['a tag', 'jobs: !!js/function x', '1:7: unresolved tag: '],
    ['an anchor', 'data: &a /x', '1:10: an anchor (&a) is not taken here'],
    ['an alias', 'data: *a', '1:7: an alias (*a) is not taken here: '],
    ['two documents', 'jobs: 1\n---\njobs: 2\n', '2:1: source contains multiple documents'],
    ['half a list', 'listen: [a:1', '1:13: flow sequence in block'],
    ['a key that is a list', '? [a]\n: b', '1:3: the name of a field is a text'],
    [
      'bytes that are not UTF-8',
      Buffer.from('a: b\nc: \xff\n', 'latin1'),
      '2:1: this is not UTF-8',
    ],
  ])('with %s is refused with its place', (_, text, problem) => {
    expect(parsed(text).problems.find((each) => each.startsWith(problem))).toBeDefined()
  })

  it('tells all mistakes at once, in the order of their lines, and keeps none of them', () => {
    const { values, problems } = parsed('jobs: 0\nalow-host: [x]\nlisten: [a, b:1]\ndata: /x\n')
    expect(problems.map((each) => each.split(' ')[0])).toEqual(['1:7:', '2:1:', '3:10:'])
    expect(values).toEqual({ data: '/x' })
  })

  it('that grows when it is read does not grow: bombs of aliases and of brackets end', () => {
    const bomb = ['a: &a [x,x,x,x,x,x,x,x,x]']
    for (let at = 1; at < 26; at++) {
      const [name, before] = [at, at - 1].map((code) => String.fromCharCode(97 + code))
      bomb.push(`${name}: &${name} [${Array(9).fill(`*${before}`).join(',')}]`)
    }
    const started = performance.now()
    expect(parsed(bomb.join('\n')).problems.length).toBeGreaterThan(26 * 9)
    for (const deep of ['[', '- ', '{a: ', '? ']) {
      expect(parsed(`jobs: 3\nx: ${deep.repeat(20_000)}`).problems.length).toBeGreaterThan(0)
    }
    expect(performance.now() - started).toBeLessThan(10_000)
  })

  it('of any text gives values that its flags take, or problems with a place in the text', () => {
    const words =
      'data listen tls cert key socket path mode jobs idle-exit allow-host : - , [ ] { } & * ! | > " 4 true ~ # ? %YAML --- ... \t'
    const token = fc.constantFrom(
      ...words.split(' '),
      ' ',
      '  ',
      '\n',
      '\n  ',
      '\u0000',
      '\ud800',
      'é',
    )
    const field = fc.constantFrom(
      'data',
      'listen',
      'jobs',
      'tls',
      'socket',
      '  mode',
      '  path',
      '- x',
    )
    const value = fc.constantFrom(
      '0',
      '3',
      '-1',
      'x',
      '"4"',
      '[x]',
      '[a:1, 4]',
      '{a: b}',
      '*a',
      '~',
    )
    const line = fc.tuple(field, fc.constantFrom(': ', ':', ' '), value)
    const text = fc.oneof(
      fc.string(),
      fc.array(token, { maxLength: 40 }).map((all) => all.join('')),
      fc.array(line, { maxLength: 6 }).map((all) => all.map((parts) => parts.join('')).join('\n')),
    )
    fc.assert(
      fc.property(text, (source) => {
        const file = parseConfiguration(Buffer.from(source), '/etc', configuredOptions)
        for (const [name, { found }] of file.values) {
          const option = Object.entries(configuredOptions).find(([each]) => each === name)?.[1]
          option?.read(found)
        }
        const lines = source.split('\n').length
        for (const { line, column, message } of file.problems) {
          expect([line >= 1 && line <= lines, column >= 1, message]).toEqual([true, true, message])
        }
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('nearest()', () => {
  it.each([
    ['jbos', 'jobs'],
    ['Listen', 'listen'],
    ['lisen', 'listen'],
    ['tls.crt', 'tls.cert'],
    ['xyz', undefined],
    ['l', undefined],
    ['x'.repeat(10_000), undefined],
  ])('of %j is %j', (typed, name) => {
    expect(nearest(typed, ['jobs', 'listen', 'tls.cert'])).toBe(name)
  })
})

describe('serve --check', () => {
  let sandbox: Sandbox
  let file: string
  beforeEach(async () => {
    sandbox = await Sandbox.make()
    file = join(sandbox.directory, 'tailrace.yaml')
  })
  afterEach(() => sandbox.remove())

  async function checked(args: readonly string[] = [], env: Readonly<Record<string, string>> = {}) {
    return JSON.parse(await sandbox.ok(['serve', '--check', '--json', ...args], { env })).fields
  }

  it('says where each value comes from: a flag before a variable before the file', async () => {
    await writeFile(file, 'listen: [127.0.0.1:1]\nallow-host: [a]\njobs: 3\nidle-exit: 9\n')
    const env = { TAILRACE_JOBS: '4', TAILRACE_ALLOW_HOST: 'b, c', TAILRACE_CONFIG: file }
    const fields = await checked(['--allow-host', 'd'], env)
    expect(fields).toMatchObject({
      data: { value: sandbox.data, from: 'environment', place: 'TAILRACE_DATA' },
      listen: { value: ['127.0.0.1:1'], from: 'file', place: `${file}:1:1` },
      'allow-host': { value: ['d'], from: 'flag', place: '--allow-host' },
      jobs: { value: 4, from: 'environment', place: 'TAILRACE_JOBS' },
      'idle-exit': { value: 9, from: 'file', place: `${file}:4:1` },
      'allow-origin': { value: [], from: 'default' },
    })
    const { 'allow-host': hosts } = await checked([], env)
    expect(hosts).toMatchObject({ value: ['b', 'c'], place: 'TAILRACE_ALLOW_HOST' })
    const shown = await sandbox.ok(['serve', '--check', '--config', file])
    expect(shown).toContain(`jobs             3  (${file}:3:1)\n`)
    expect(shown).toContain('socket.mode      0600  (default)\n')
  })

  it('takes --config, else the variable, else config.yaml of the data directory', async () => {
    await mkdir(sandbox.data, { mode: 0o700 })
    await writeFile(join(sandbox.data, 'config.yaml'), 'jobs: 1\n')
    await writeFile(file, 'jobs: 2\n')
    const other = join(sandbox.directory, 'other.yaml')
    await writeFile(other, 'jobs: 3\n')
    const env = { TAILRACE_CONFIG: file }
    expect((await checked()).jobs.value).toBe(1)
    expect((await checked([], env)).jobs.value).toBe(2)
    expect((await checked(['--config', other], env)).jobs.value).toBe(3)
    const missing = await sandbox.call(['serve', '--check', '--config', '/none.yaml'])
    failed(missing, 'EMISCONFIGURED')
    expect(missing.stderr).toContain('/none.yaml: cannot be read')
    await writeFile(join(sandbox.data, 'config.yaml'), 'jobs: 1\ndata: /x\n')
    const own = await sandbox.call(['serve', '--check'])
    expect(own.stderr).toContain('config.yaml:2:1: data: the file of a data directory names none')
  })

  it('an empty variable is none, false takes back the file, and true stands for a flag', async () => {
    await writeFile(file, 'listen: [0.0.0.0:1]\ninsecure-listen: true\nidle-exit: true\n')
    const config = ['--config', file]
    expect((await checked(config, { TAILRACE_LISTEN: '' })).listen.from).toBe('file')
    const closed = { TAILRACE_INSECURE_LISTEN: '0' }
    const refused = await sandbox.call(['serve', '--check', ...config], { env: closed })
    failed(refused, 'EMISCONFIGURED')
    expect(refused.stderr).toContain(`${file}:1:1: listen: 0.0.0.0:1 can be reached`)
    const { 'idle-exit': idle } = await checked(config, { TAILRACE_IDLE_EXIT: 'false' })
    expect(idle).toEqual({ value: null, from: 'environment', place: 'TAILRACE_IDLE_EXIT' })
    const wrong = await sandbox.call(['serve', '--check'], { env: { TAILRACE_JOBS: 'x' } })
    failed(wrong, 'EMISCONFIGURED')
    expect(wrong.stderr).toContain('TAILRACE_JOBS: takes an integer of at least 1, not "x"')
  })

  it('tells all mistakes of all sources, one a line, and in JSON', async () => {
    await writeFile(file, 'jobs: 0\nlisten: [x]\n')
    const env = { TAILRACE_INSECURE_LISTEN: 'maybe', TAILRACE_TLS_KEY: '/k' }
    const call = ['serve', '--check', '--config', file]
    const { code, stderr } = await sandbox.call(call, { env })
    expect(code).toBe(1)
    expect(stderr.trimEnd().split('\n')).toEqual([
      'tailrace: EMISCONFIGURED: TAILRACE_INSECURE_LISTEN: takes true or false, not "maybe"',
      `tailrace: EMISCONFIGURED: ${file}:1:7: jobs: takes an integer of at least 1, not "0"`,
      `tailrace: EMISCONFIGURED: ${file}:2:10: listen[0]: takes HOST:PORT or systemd, not "x"`,
      'tailrace: EMISCONFIGURED: TAILRACE_TLS_KEY: goes with tls.cert (--tls-cert, TAILRACE_TLS_CERT), which is not given',
    ])
    const json = await sandbox.call([...call, '--json'], { env })
    const { error } = JSON.parse(json.stdout)
    expect(error).toMatchObject({ code: 'EMISCONFIGURED' })
    expect(error.problems).toHaveLength(4)
    await writeFile(file, 'listen: ['.concat('x, '.repeat(2 * problemsMax), ']'))
    const many = await sandbox.call(['serve', '--check', '--config', file])
    expect(many.stderr.trimEnd().split('\n')).toHaveLength(problemsMax + 1)
  })

  it('holds the rules between options whatever their sources are', async () => {
    const call = (args: readonly string[], env = {}) =>
      sandbox.call(['serve', '--check', '--config', file, ...args], { env })
    await writeFile(file, 'allow-host: [a]\n')
    const alone = await call([])
    expect(alone.stderr).toContain(`${file}:1:1: allow-host: goes with listen (--listen, `)
    expect((await call(['--listen', '127.0.0.1:0'])).code).toBe(0)
    expect((await call([], { TAILRACE_LISTEN: '127.0.0.1:0' })).code).toBe(0)
    await writeFile(file, 'tls: {cert: a, key: b}\nlisten: [127.0.0.1:0]\n')
    const beside = await call(['--insecure-listen'])
    expect(beside.code).toBe(1)
    expect(beside.stderr).toContain(
      `${file}:1:7: tls.cert: does not go with insecure-listen (--insecure-listen)`,
    )
    await writeFile(file, 'listen: [127.0.0.1:0]\n')
    expect((await call(['--allow-host', 'a'])).code).toBe(0)
    const usage = await call(['--tls-cert', 'x'])
    expect(usage.code).toBe(2)
    expect(usage.stderr).toContain('EINVAL: --tls-cert goes with --tls-key')
  })

  it('checks the certificate, and never prints a key', async () => {
    await using certificates = await CertificateDirectory.of('server')
    const { certFile, keyFile } = certificates.files
    const tls = `listen: [0.0.0.0:0]\ntls:\n  cert: ${certFile}\n  key: ${keyFile}\n`
    await writeFile(file, tls)
    const shown = await sandbox.ok(['serve', '--check', '--config', file])
    expect(shown).toContain(certFile)
    const secret = (await readFile(keyFile, 'utf8')).split('\n')[1] ?? ''
    expect(secret.length).toBeGreaterThan(10)
    expect(shown).not.toContain(secret)
    await certificates.putKey('other')
    const other = await sandbox.call(['serve', '--check', '--config', file])
    failed(other, 'EMISCONFIGURED')
    expect(other.stderr).toContain(`${file}:3:3: tls.cert: the key in ${keyFile} is not that of`)
  })

  it('refuses a file that others may write, one too large, and one that is no file', async () => {
    await writeFile(file, 'jobs: 1\n')
    await chmod(file, 0o666)
    failed(await sandbox.call(['serve', '--check', '--config', file]), 'EPERM')
    await chmod(file, 0o644)
    expect((await sandbox.call(['serve', '--check', '--config', file])).code).toBe(0)
    await writeFile(file, '#'.repeat(fileSizeMax))
    expect((await sandbox.call(['serve', '--check', '--config', file])).code).toBe(0)
    await writeFile(file, '#'.repeat(fileSizeMax + 1))
    failed(await sandbox.call(['serve', '--check', '--config', file]), 'EMISCONFIGURED')
    failed(
      await sandbox.call(['serve', '--check', '--config', sandbox.directory]),
      'EMISCONFIGURED',
    )
  })
})

describe('a server', () => {
  let sandbox: Sandbox
  beforeEach(async () => {
    sandbox = await Sandbox.make()
    await mkdir(sandbox.data, { mode: 0o700 })
  })
  afterEach(() => sandbox.remove())

  it('in the foreground takes its directory and addresses from the file', async () => {
    const file = join(sandbox.directory, 'tailrace.yaml')
    await writeFile(file, 'data: ./stores/one\nlisten: [127.0.0.1:0]\n')
    const env = { TAILRACE_DATA: '' }
    const { child, ended } = sandbox.start(['serve', '--json', '--config', file], { env })
    const all = ended()
    const [line] = await once(child.stdout, 'data')
    const record = JSON.parse(String(line))
    expect(record.socket).toBe(join(sandbox.directory, 'stores/one/tailrace.sock'))
    expect(record.listen[0]).toMatch(/^127\.0\.0\.1:\d+$/)
    child.kill('SIGTERM')
    expect((await all).code).toBe(0)
  })

  it('that a command starts takes config.yaml of its directory', async () => {
    await writeFile(join(sandbox.data, 'config.yaml'), 'listen: [127.0.0.1:0]\nidle-exit: 60000\n')
    await sandbox.ok(['put', 'key', 'value'])
    expect((await sandbox.record()).listen).toHaveLength(1)
  })

  it('that a command starts takes no notice of the file of another directory', async () => {
    const file = join(sandbox.directory, 'tailrace.yaml')
    const env = { TAILRACE_CONFIG: file }
    await writeFile(file, `data: ${sandbox.directory}/elsewhere\nlisten: [127.0.0.1:0]\n`)
    expect((await sandbox.shell('t put key value', { env })).code).toBe(0)
    expect((await sandbox.record()).listen).toEqual([])
    await sandbox.ok(['stop'])
    await writeFile(file, `data: ${sandbox.data}\nlisten: [127.0.0.1:0]\n`)
    expect((await sandbox.shell('t get key', { env })).stdout).toBe('value')
    expect((await sandbox.record()).listen).toHaveLength(1)
  })

  it('that a command starts takes no notice of variables that are of another directory', async () => {
    const env = { TAILRACE_LISTEN: '127.0.0.1:0', TAILRACE_CONFIG: '/none.yaml' }
    const other = join(sandbox.directory, 'other')
    expect((await sandbox.shell(`t put key value --data ${other}`, { env })).code).toBe(0)
    const { listen } = JSON.parse(await sandbox.ok(['status', '--json', '--data', other]))
    expect(listen).toEqual([])
    await sandbox.ok(['stop', '--data', other])
    const own = { TAILRACE_LISTEN: '127.0.0.1:0' }
    expect((await sandbox.shell('t put key value', { env: own })).code).toBe(0)
    expect((await sandbox.record()).listen).toHaveLength(1)
  })

  it('that a command cannot start says all mistakes of its file in one line', async () => {
    await writeFile(join(sandbox.data, 'config.yaml'), 'jobs: x\nlisten: [y]\n')
    const ended = await sandbox.shell('t put key value')
    failed(ended, 'EMISCONFIGURED')
    expect(ended.stderr).toMatch(/config\.yaml:1:7: jobs: .*; .*config\.yaml:2:10: listen\[0\]: /)
    expect(await readFile(join(sandbox.data, 'server.log'), 'utf8')).toMatch(
      /^tailrace: EMISCONFIGURED: .*:1:7: .*\ntailrace: EMISCONFIGURED: .*:2:10: .*\n$/,
    )
  })
})

it('each option has a row in rfc/30, and its variable in the README', async () => {
  const read = (path: string) =>
    readFile(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8')
  const [rfc, readme] = await Promise.all([read('rfc/30-configuration.md'), read('README.md')])
  for (const { flags, configured, reloads } of Object.values(configuredOptions)) {
    const row = rfc.split('\n').find((line) => line.includes(`| \`${configured?.field}\` |`))
    expect([longFlag(flags), row]).toEqual([
      longFlag(flags),
      expect.stringContaining(`| \`${configured?.variable}\` |`),
    ])
    expect([longFlag(flags), /\| yes \|$/.test(row ?? '')]).toEqual([
      longFlag(flags),
      reloads === true,
    ])
  }
  expect(serveVariables.filter((name) => !readme.includes(`\`${name}\``))).toEqual([])
})
