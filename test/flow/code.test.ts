/** The code of modules and of functions: which files and packages belong to it. See rfc/24, rules 12 to
 *  14. */

import { readFileSync } from 'node:fs'
import { Session } from 'node:inspector'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { packAction } from '../../src/cache/action.js'
import { differencesOf } from '../../src/cache/compare.js'
import { CodeReader } from '../../src/flow/code.js'
import { RunCodes } from '../../src/flow/codes.js'
import { exportTargets, importTargets } from '../../src/flow/manifest.js'
import {
  codeFilesMax,
  hexHashOf,
  type ModuleCode,
  Modules,
  sourceSizeMax,
} from '../../src/flow/modules.js'
import { Project } from './code-project.js'

const codeIn = (project: Project, path = 'src/flow.ts'): Promise<ModuleCode> =>
  new Modules().codeOf(project.path(path))
const filesIn = async (project: Project, path?: string) =>
  Object.keys((await codeIn(project, path)).files)
const refused = (message: RegExp | string, code = 'EINVAL') =>
  expect.objectContaining({ code, message: expect.stringMatching(message) })
const installed = (version: string) => ({ name: 'thing', version })

describe('the files of a module', () => {
  it('are itself and all that it imports, directly or not, each by the hash of its bytes', async () => {
    using project = new Project({
      'package.json': {},
      'src/flow.ts': "import './clean.ts'\nexport * from '../lib/model.js'",
      'src/clean.ts': 'await import("./rare.ts")',
      'src/rare.ts': '',
      'src/other.ts': "import './flow.ts'",
      'lib/model.js': '',
    })
    const { files, packages } = await codeIn(project)
    expect(Object.keys(files)).toEqual([
      'lib/model.js',
      'src/clean.ts',
      'src/flow.ts',
      'src/rare.ts',
    ])
    // BLAKE3 of no bytes.
    expect(files['src/rare.ts']).toBe(
      'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262',
    )
    expect(packages).toEqual({})
  })

  it('change with a comment, in that file alone, and not with a file that is not imported', async () => {
    using project = new Project({
      'package.json': {},
      'src/flow.ts': "import './clean.ts'",
      'src/clean.ts': '',
      'src/other.ts': '',
    })
    const before = await codeIn(project)
    project.write('src/other.ts', '// new')
    expect(await codeIn(project)).toEqual(before)
    project.write('src/clean.ts', '// new')
    const differences = differencesOf({ code: before }, { code: await codeIn(project) })
    expect(differences.map(({ path }) => path)).toEqual(['code.files["src/clean.ts"]'])
  })

  it('are read once in a run', async () => {
    using project = new Project({
      'a.js': "import './b.js'",
      'b.js': '',
      'c.js': "import './b.js'",
    })
    const modules = new Modules()
    const before = await modules.codeOf(project.path('a.js'))
    project.write('b.js', '// new')
    expect(await modules.codeOf(project.path('a.js'))).toBe(before)
    const { files } = await modules.codeOf(project.path('c.js'))
    expect(files['b.js']).toBe(before.files['b.js'])
  })

  it('have paths from the nearest package.json, or from the module where there is none', async () => {
    using project = new Project({
      'src/flow.ts': "import '../lib/a.ts'",
      'lib/a.ts': '',
    })
    expect(await filesIn(project)).toEqual(['../lib/a.ts', 'flow.ts'])
    project.write('package.json', {})
    expect(await filesIn(project)).toEqual(['lib/a.ts', 'src/flow.ts'])
    project.write('src/package.json', { type: 'module' })
    expect(await filesIn(project)).toEqual(['../lib/a.ts', 'flow.ts'])
  })

  it('are equal for two checkouts at different places, as an action too', async () => {
    const files = {
      'package.json': { name: 'me', exports: { './*': './src/*.ts' } },
      'src/flow.ts': "import 'me/clean'\nimport 'thing'",
      'src/clean.ts': '',
      'node_modules/thing/package.json': installed('1.0.0'),
    }
    using first = new Project(files)
    using second = new Project(files)
    const [one, other] = [await codeIn(first), await codeIn(second)]
    expect(one).toEqual(other)
    expect(packAction({ code: one }).id).toBe(packAction({ code: other }).id)
  })

  it('end at circles', async () => {
    using project = new Project({
      'package.json': {},
      'a.js': "import './b.js'\nimport './a.js'",
      'b.js': "import './c.js'",
      'c.js': "import './a.js'",
    })
    expect(await filesIn(project, 'c.js')).toEqual(['a.js', 'b.js', 'c.js'])
  })

  it('end at directories whose "main" names the other', async () => {
    using project = new Project({
      'a.js': "import './b'",
      'b/package.json': { main: '../c' },
      'c/package.json': { main: '../b' },
    })
    await expect(codeIn(project, 'a.js')).rejects.toEqual(refused('"./b" leads nowhere'))
    project.write('c/index.js', '')
    expect(await filesIn(project, 'a.js')).toEqual(['a.js', 'c/index.js'])
  })

  it('are hashed and not looked into where they are no code', async () => {
    using project = new Project({
      'package.json': {},
      'a.js': "import d from './d.json' with { type: 'json' }\nimport './e.css'\nimport './f.node'",
      'd.json': "import './none.js'",
      'e.css': "@import './none.css'",
      'f.node': Array.from({ length: 300_000 }, (_, index) => index).join(),
    })
    const { files } = await codeIn(project, 'a.js')
    expect(Object.keys(files)).toEqual(['a.js', 'd.json', 'e.css', 'f.node'])
    // A large file is read in pieces.
    expect(files['f.node']).toBe(hexHashOf(readFileSync(project.path('f.node'))))
  })

  it('have their real paths', async () => {
    using project = new Project({
      'package.json': {},
      'a.js': "import './link.js'",
      'real/b.js': "import './c.js'",
      'real/c.js': '',
    })
    project.link('link.js', 'real/b.js')
    project.link('again.js', 'a.js')
    expect(await filesIn(project, 'a.js')).toEqual(['a.js', 'real/b.js', 'real/c.js'])
    expect(await filesIn(project, 'again.js')).toEqual(['a.js', 'real/b.js', 'real/c.js'])
  })

  it.each([
    ['./b.js', ['b.js'], ['b.js']],
    ['./b.js', ['b.ts'], ['b.ts']],
    ['./b.js', ['b.js', 'b.ts', 'b.tsx'], ['b.js', 'b.ts', 'b.tsx']],
    ['./b.js', ['b.js', 'b.mts', 'b.js.js'], ['b.js']],
    ['./b.jsx', ['b.tsx'], ['b.tsx']],
    ['./b.mjs', ['b.mts', 'b.ts'], ['b.mts']],
    ['./b.cjs', ['b.cts', 'b.ts'], ['b.cts']],
    ['./b.ts', ['b.ts', 'b.js'], ['b.ts']],
    ['./b', ['b', 'b.ts'], ['b']],
    ['./b', ['b.ts', 'b/index.ts'], ['b.ts']],
    ['./b', ['b.ts', 'b.json'], ['b.json', 'b.ts']],
    ['./b', ['b/index.ts', 'b/other.ts'], ['b/index.ts']],
    ['./b/', ['b/index.js'], ['b/index.js']],
    ['./b.js', ['b.jsx'], ['b.jsx']],
    ['.', ['index.js'], ['index.js']],
    ['./b.config', ['b.config.ts'], ['b.config.ts']],
    ['./b%20c.js?v=1#d', ['b c.js'], ['b c.js']],
  ])('that %s stands for, of %j, are %j', async (specifier, there, expected) => {
    using project = new Project({
      'package.json': {},
      'm.js': `import '${specifier}'`,
      ...Object.fromEntries(there.map((path) => [path, ''])),
    })
    expect(await filesIn(project, 'm.js')).toEqual([...expected, 'm.js'].sort())
  })

  it('are named by absolute paths and by URLs, too', async () => {
    using project = new Project({ 'package.json': {}, 'b.js': '', 'c.js': '' })
    project.write(
      'a.js',
      `import '${project.path('b.js')}'\nimport 'file://${project.path('c.js')}'`,
    )
    expect(await filesIn(project, 'a.js')).toEqual(['a.js', 'b.js', 'c.js'])
  })

  it('follow the own name of the package, if it has exports', async () => {
    using project = new Project({
      'package.json': {
        name: '@us/me',
        exports: { '.': './src/main.js', './part/*': './src/*.js' },
      },
      'src/flow.ts': "import '@us/me'\nimport '@us/me/part/deep/a'",
      'src/main.ts': '',
      'src/deep/a.js': '',
    })
    expect(await filesIn(project)).toEqual(['src/deep/a.js', 'src/flow.ts', 'src/main.ts'])
    project.write('src/flow.ts', "import '@us/me/hidden'")
    await expect(codeIn(project)).rejects.toEqual(
      refused(/src\/flow\.ts:1: the import of "@us\/me\/hidden" leads nowhere/),
    )
    project.write('package.json', { name: '@us/me' })
    project.write('src/flow.ts', "import '@us/me/src/main.ts'")
    await expect(codeIn(project)).rejects.toEqual(refused('"@us/me/src/main.ts" leads nowhere'))
  })

  it('follow "imports", under all conditions, to files and packages', async () => {
    using project = new Project({
      'package.json': {
        imports: {
          '#db': { types: './src/db.d.ts', node: './src/db-node.ts', default: './src/db-web.ts' },
          '#lib/*.js': './lib/*.js',
          '#thing': ['thing', './src/gone.ts'],
          '#fs': 'node:fs',
          '#web': { browser: 'web', default: './lib/a.js' },
          '#gone': { browser: 'web', default: './lib/gone.js' },
        },
      },
      'src/flow.ts':
        "import '#db'\nimport '#lib/a.js'\nimport '#thing'\nimport '#fs'\nimport '#web'",
      'src/db.d.ts': '',
      'src/db-node.ts': '',
      'src/db-web.ts': '',
      'lib/a.ts': '',
      'node_modules/thing/package.json': installed('1.0.0'),
    })
    const code = await codeIn(project)
    expect(Object.keys(code.files)).toEqual([
      'lib/a.ts',
      'src/db-node.ts',
      'src/db-web.ts',
      'src/flow.ts',
    ])
    expect(code.packages).toEqual({ thing: '1.0.0' })
    project.write('src/flow.ts', "\nimport '#other'")
    await expect(codeIn(project)).rejects.toEqual(refused('flow.ts:2: the import of "#other"'))
    project.write('src/flow.ts', "import '#gone'")
    await expect(codeIn(project)).rejects.toEqual(refused('the import of "#gone" leads nowhere'))
  })

  it('are bounded, and so is the size of one that is looked into', async () => {
    const count = codeFilesMax
    const list = (length: number) =>
      Array.from({ length }, (_, index) => `import './f${index}.json'`).join('\n')
    using project = new Project({ 'a.js': list(count - 1), 'b.js': list(count) })
    for (let index = 0; index < count; index++) project.write(`f${index}.json`, '')
    expect(Object.keys((await codeIn(project, 'a.js')).files)).toHaveLength(count)
    await expect(codeIn(project, 'b.js')).rejects.toEqual(refused(`more than ${count}`, 'E2BIG'))

    project.write('c.js', "import './d.js'")
    project.write('d.js', `/*${' '.repeat(sourceSizeMax - 4)}*/`)
    expect(await filesIn(project, 'c.js')).toEqual(['c.js', 'd.js'])
    project.write('d.js', `/*${' '.repeat(sourceSizeMax - 3)}*/`)
    await expect(codeIn(project, 'c.js')).rejects.toEqual(refused('d\\.js has .* bytes', 'E2BIG'))
    project.write('c.js', "import './d.txt'")
    project.write('d.txt', ' '.repeat(sourceSizeMax + 1))
    expect(await filesIn(project, 'c.js')).toEqual(['c.js', 'd.txt'])
  })

  it('are those that a model of reachability finds', async () => {
    const forms = [
      (to: string) => `import './${to}.js'`,
      (to: string) => `export * from "./${to}"`,
      (to: string) => `export const f${to} = () => import("./${to}.ts")`,
      (to: string) => `import /* ; */ { default as a${to} } from '#${to}'`,
      (to: string) => `import type { A${to} } from './${to}.js'`,
    ]
    const edge = fc.record({ to: fc.nat(9), form: fc.nat(forms.length - 1) })
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(edge, { maxLength: 3 }), { minLength: 10, maxLength: 10 }),
        async (graph) => {
          using project = new Project({ 'package.json': { imports: { '#*': './*.js' } } })
          for (const [from, edges] of graph.entries()) {
            const lines = edges.map(({ to, form }) => forms[form]?.(`m${to}`))
            project.write(`m${from}.ts`, lines.join('\n'))
          }
          const reachable = new Set([0])
          for (const from of reachable) {
            for (const { to, form } of graph[from] ?? []) if (form < 4) reachable.add(to)
          }
          const expected = [...reachable].map((index) => `m${index}.ts`).sort()
          expect(await filesIn(project, 'm0.ts')).toEqual(expected)
        },
      ),
      { numRuns: 50 },
    )
  })
})

describe('the packages of a module', () => {
  it('are named by their versions, and not looked into', async () => {
    using project = new Project({
      'package.json': {},
      'src/flow.ts': "import 'thing/deep/part.js'\nimport { x } from '@some/tool'\nimport './a.ts'",
      'src/a.ts':
        "import 'thing'\nimport 'node:fs'\nimport 'fs/promises'\nimport 'data:text/javascript,1'",
      'node_modules/thing/package.json': installed('1.2.3'),
      'node_modules/thing/index.js': "import './none.js'",
      'node_modules/@some/tool/package.json': installed('2.0.0-beta+1'),
    })
    const before = await codeIn(project)
    expect(before.packages).toEqual({ '@some/tool': '2.0.0-beta+1', thing: '1.2.3' })
    expect(Object.keys(before.files)).toEqual(['src/a.ts', 'src/flow.ts'])
    project.write('node_modules/thing/index.js', '// new')
    expect(await codeIn(project)).toEqual(before)
    project.write('node_modules/thing/package.json', installed('1.2.4'))
    expect(differencesOf({ code: before }, { code: await codeIn(project) })).toEqual([
      { path: 'code.packages.thing', before: '1.2.3', after: '1.2.4' },
    ])
  })

  it('are the nearest ones of each file, all of them if they differ', async () => {
    using project = new Project({
      'package.json': {},
      'src/flow.ts': "import 'thing'\nimport '../lib/a.ts'",
      'lib/a.ts': "import 'thing'",
      'node_modules/thing/package.json': installed('2.0.0'),
      'lib/node_modules/thing/package.json': installed('10.0.0'),
    })
    expect((await codeIn(project)).packages).toEqual({ thing: '10.0.0, 2.0.0' })
    project.write('src/flow.ts', "import '../lib/a.ts'")
    expect((await codeIn(project)).packages).toEqual({ thing: '10.0.0' })
  })

  it('are found by symlinks into a store, as pnpm makes them', async () => {
    using project = new Project({
      'package.json': {},
      'src/flow.ts': "import 'thing'",
      'node_modules/.pnpm/thing@1.0.0/node_modules/thing/package.json': installed('1.0.0'),
    })
    project.link('node_modules/thing', 'node_modules/.pnpm/thing@1.0.0/node_modules/thing')
    const { files, packages } = await codeIn(project)
    expect({ files: Object.keys(files), packages }).toEqual({
      files: ['src/flow.ts'],
      packages: { thing: '1.0.0' },
    })
  })

  it('are files where they are worked on: linked from elsewhere, or without a version', async () => {
    using project = new Project({
      'package.json': {},
      'packages/app/package.json': { name: 'app' },
      'packages/app/flow.ts':
        "import 'lib'\nimport 'lib/deep.js'\nimport 'old'\nimport 'old/part'\nimport 'vendored'",
      'packages/lib/package.json': {
        ...{ name: 'lib', version: '0.0.0' },
        exports: {
          '.': { types: './index.d.ts', import: './src/index.js', require: './dist/index.cjs' },
          './*': './src/*',
        },
      },
      'packages/lib/index.d.ts': '',
      'packages/lib/src/index.ts': "import 'thing'",
      'packages/lib/src/deep.ts': '',
      'packages/old/package.json': { name: 'old', version: '0.0.0', main: 'lib/main' },
      'packages/old/lib/main.js': '',
      'packages/old/part/index.js': '',
      'node_modules/thing/package.json': installed('1.0.0'),
      'node_modules/vendored/index.js': '',
    })
    project.link('node_modules/lib', 'packages/lib')
    project.link('node_modules/old', 'packages/old')
    const { files, packages } = await codeIn(project, 'packages/app/flow.ts')
    expect(Object.keys(files)).toEqual([
      '../../node_modules/vendored/index.js',
      '../lib/src/deep.ts',
      '../lib/src/index.ts',
      '../old/lib/main.js',
      '../old/part/index.js',
      'flow.ts',
    ])
    expect(packages).toEqual({ thing: '1.0.0' })
    project.write('packages/app/flow.ts', 'await import("lib/none.js")')
    await expect(codeIn(project, 'packages/app/flow.ts')).rejects.toEqual(
      refused('flow\\.ts:1: the import of "lib/none\\.js" leads nowhere'),
    )
  })

  it('are found by the path of a file, too', async () => {
    using project = new Project({
      'package.json': {},
      'a.js': "import './node_modules/@some/tool/deep/b.js'",
      'node_modules/@some/tool/package.json': installed('1.0.0'),
      'node_modules/@some/tool/deep/b.js': '',
    })
    const { files, packages } = await codeIn(project, 'a.js')
    expect(Object.keys(files)).toEqual(['a.js'])
    expect(packages).toEqual({ '@some/tool': '1.0.0' })
  })

  it('have the version null if they are not installed and only import() names them', async () => {
    using project = new Project({
      'package.json': {},
      'a.js': 'try { await import("thing/part") } catch {}',
    })
    const before = await codeIn(project, 'a.js')
    expect(before.packages).toEqual({ thing: null })
    project.write('node_modules/thing/package.json', installed('1.0.0'))
    expect(differencesOf({ code: before }, { code: await codeIn(project, 'a.js') })).toEqual([
      { path: 'code.packages.thing', before: null, after: '1.0.0' },
    ])
  })

  it.each([
    ["import 'thing'", 'the import of "thing" leads nowhere\\. Names that only a bundler'],
    ["import '@/clean'", '"@/clean" leads nowhere\\. Names'],
    ['import("~/clean")', '"~/clean" leads nowhere\\. Names'],
    ["import './none.js'", '"\\./none\\.js" leads nowhere\\. If it has types'],
    ['import("./none.js")', '"\\./none\\.js" leads nowhere$'],
    ["import 'https://x.org/a.js'", '"https://x\\.org/a\\.js" leads nowhere'],
    ["import './%2f.js'", 'leads nowhere'],
    ["import 'file:///none.js'", 'leads nowhere'],
    ['const = 1', 'cannot be read: '],
  ])('and files that %s does not find are EINVAL, with the place', async (line, message) => {
    using project = new Project({
      'package.json': {},
      'a.js': "import './deep/b.js'",
      'deep/b.js': `\n\n${line}`,
    })
    const place = project.path('deep/b.js').replaceAll('.', '\\.')
    await expect(codeIn(project, 'a.js')).rejects.toEqual(refused(`^${place}:3: .*${message}`))
  })

  it('are looked for in a package.json, which is EINVAL if it is damaged', async () => {
    using project = new Project({ 'package.json': '{', 'a.js': '' })
    await expect(codeIn(project, 'a.js')).rejects.toEqual(refused('package\\.json is no JSON'))
    project.write('package.json', '[]')
    await expect(codeIn(project, 'a.js')).rejects.toEqual(refused('must be an object'))
    await expect(codeIn(project, 'none.js')).rejects.toEqual(refused('none\\.js cannot be read'))
  })
})

describe('the targets of a package.json', () => {
  it.each<[string, unknown, string, readonly string[]]>([
    ['one for all', './a.js', '.', ['./a.js']],
    ['one for all, of a part', './a.js', './b', []],
    ['conditions for all', { import: './a.mjs', require: './a.cjs' }, '.', ['./a.mjs', './a.cjs']],
    [
      'nested conditions',
      { '.': { node: { import: './a' }, default: './b' } },
      '.',
      ['./a', './b'],
    ],
    [
      'types',
      { '.': { types: './a.d.ts', 'types@>=5': './a5.d.ts', default: './a.js' } },
      '.',
      ['./a.js'],
    ],
    ['a list', { '.': [{ import: './a' }, './b'] }, '.', ['./a', './b']],
    ['a part', { './a': './x/a.js' }, './a', ['./x/a.js']],
    ['a pattern', { './*': './x/*.js' }, './a/b', ['./x/a/b.js']],
    ['a star that stands twice', { './*': './*/*.js' }, './a', ['./a/a.js']],
    ['the longer of two patterns', { './*': './x/*', './a/*': './y/*' }, './a/b', ['./y/b']],
    [
      'the pattern with an ending',
      { './*': './x/*', './*.js': './y/*.js' },
      './b.js',
      ['./y/b.js'],
    ],
    ['a pattern for nothing', { './a/*': './x/*' }, './a/', []],
    ['null, which hides', { './*': './x/*', './a/*': null }, './a/b', []],
    ['a folder, as it was once', { './a/': './x/' }, './a/b', []],
    ['a pattern that is asked for itself', { './*': './x/*' }, './*', ['./x/*']],
    ['nothing', {}, '.', []],
    ['a number', 1, '.', []],
    ['a path without its dot', { '.': ['a.js', '/a.js', '../a.js', './b.js'] }, '.', ['./b.js']],
  ])('of %s', (_name, exports, part, expected) => {
    expect(exportTargets(exports, part)).toEqual(expected)
  })

  it('of imports are found by the whole name or a pattern', () => {
    const imports = { '#a': './a.js', '#b/*': { default: './b/*.js' } }
    expect(importTargets(imports, '#a')).toEqual(['./a.js'])
    expect(importTargets(imports, '#b/c')).toEqual(['./b/c.js'])
    expect(importTargets(imports, '#c')).toEqual([])
    expect(importTargets(undefined, '#a')).toEqual([])
  })
})

const one = () => 1

describe('CodeReader', () => {
  const other = () => 2

  it('tells the code of functions of this module, with one object for their files', async () => {
    const [a, b, again] = await new CodeReader().codesOf([one, other, one])
    expect(a?.files['test/flow/code.test.ts']).toMatch(/^[0-9a-f]{64}$/)
    expect(a?.files['src/flow/modules.ts']).toMatch(/^[0-9a-f]{64}$/)
    expect(a?.files['src/api/cache.ts']).toMatch(/^[0-9a-f]{64}$/)
    expect(Object.keys(a?.packages ?? {})).toEqual(
      expect.arrayContaining(['fast-check', 'oxc-parser']),
    )
    expect(again).toEqual(a)
    expect(a?.function).not.toBe(b?.function)
    expect(b?.files).toBe(a?.files)
    expect(b?.packages).toBe(a?.packages)
  })

  it('takes the text of a function, even if it has another toString', async () => {
    const plain = () => 3
    const other = Object.assign(() => 3, { toString: () => 'no' })
    const [a, b] = await new CodeReader().codesOf([plain, other])
    expect(b).toEqual(a)
  })

  it('gives a plain value in canonical order, which an action takes', async () => {
    const code = await new CodeReader().codeOf(one)
    expect(Object.keys(code.files)).toEqual(Object.keys(code.files).sort())
    expect(Object.keys(code.packages)).toEqual(Object.keys(code.packages).sort())
    expect(packAction({ code }).id).toBe(packAction({ code: structuredClone(code) }).id)
  })

  it.each([undefined, null, 'f', {}])('refuses %j', async (fn) => {
    await expect(new CodeReader().codeOf(fn as unknown as () => 1)).rejects.toEqual(
      refused('what has code must be a function'),
    )
  })
})

describe('RunCodes', () => {
  it('looks up the functions of a loop once, however few are asked for at a time', async () => {
    const connecting = vi.spyOn(Session.prototype, 'connect')
    onTestFinished(() => connecting.mockRestore())
    const functions = Array.from({ length: 1_000 }, (_, at) => () => at + 13)
    const codes = new RunCodes()
    codes.expect(functions)
    const first = await codes.of(functions[0] ?? one)
    const sessions = connecting.mock.calls.length
    for (const fn of functions) expect(await codes.of(fn)).toEqual(first)
    expect(sessions).toBeLessThan(5)
    expect(connecting.mock.calls.length).toBe(sessions)
  })

  it('tells the code of those that are not of a loop, and refuses a built-in among them', async () => {
    const functions = Array.from({ length: 1_000 }, (_, at) => () => at + 14)
    const codes = new RunCodes()
    codes.expect([...functions, one, Math.max])
    const asked = [...functions.slice(0, 3), one].map((fn) => codes.of(fn))
    await expect(codes.of(Math.max)).rejects.toMatchObject({ code: 'EINVAL' })
    const [first, second, , other] = await Promise.all(asked)
    expect(first).toEqual(second)
    expect(other?.function).not.toBe(first?.function)
  })
})
