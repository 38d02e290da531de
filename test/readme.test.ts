/** The tour of the README as printed, but for what needs curl or the network; commands that only ask are run here. */

import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Sandbox } from './support/sandbox.js'
import { askingShell } from './support/shell-asking.js'

const root = fileURLToPath(new URL('..', import.meta.url))

/** A command of the tour, what its comment says that it prints, and how that looks. */
const claims: readonly (readonly [command: string, comment: string, printed: RegExp])[] = [
  ['get greeting', 'hello', /^hello$/],
  ['get nothing --json', '{"error":{"code":"ENOENT",...}}', /^\{"error":\{"code":"ENOENT",.*\}\}$/],
  ['ls -R backup', 'rfc.tar', /^rfc.tar$/],
  ['txn change.json', '{"seq": ...}', /^\{"seq":/],
  ['txn change.json', 'ECONFLICT: the lock is taken', /^tailrace: ECONFLICT: /],
  ['get greeting --at $FIRST', 'hello', /^hello$/],
  ['readlink latest', 'archive/rfc.tar', /^archive\/rfc.tar$/],
  ['get numbers --index 900', '901', /^901$/],
  [
    `append orders 'a book; ' --producer shop --epoch 0 --seq 0 --json`,
    '"repeated":true',
    /"index":0,"count":1,"repeated":true/,
  ],
  [
    'cache stat --layer pr-7',
    'pr-7: 0 results, ...',
    /^pr-7: 0 results, .*, reads go on in main; all are kept$/,
  ],
  [
    'flow graph share/pipeline.mjs',
    'each target',
    /^fetch\nclean\n {2}fetch\n[\s\S]*train\[\*\]\n/,
  ],
  [
    'flow run share/pipeline.mjs 2> run.log',
    'penalty 0: slope 3.00, ...',
    /^penalty 0: slope 3\.00, error [\d.]+\n/,
  ],
  ['flow run share/pipeline.mjs report 2> run.log', 'nothing runs again', /^$/],
  ['flow outdated share/pipeline.mjs --exit-code', 'says what', /^$/],
  ['flow why share/pipeline.mjs clean', 'nothing', /^$/],
  ['flow ls --limit 1', 'r... id', /^r\w{15} .* ok +0 made, 8 found, 0 failed, 0 skipped$/],
  ['lease show deploy', 'held ...', /^held [0-9a-f]{32}:\d+ /],
  ['diff first now backup', 'A backup, A backup/rfc.tar', /^A backup\nA backup\/rfc.tar$/],
  ['verify backup.tailrace', 'whole: primary at ...', /^whole: primary at \d+ /],
  ['get greeting -n restored', 'goodbye', /^goodbye$/],
  ['fsck', 'clean: ...', /^clean: \d+ namespaces, /],
  [
    `run --merge --time-limit 1m --name build -- sh -c 'echo 1; echo 2 >&2; echo 3'`,
    'in this order',
    /^1\n2\n3$/,
  ],
]

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.make()
})
afterEach(() => sandbox.remove())

it('every command of the tour does what its comment says', { timeout: 240_000 }, async () => {
  const readme = await readFile(`${root}/README.md`, 'utf8')
  const blocks = [...readme.matchAll(/^```sh\n(.*?)^```$/gms)].map((match) => match[1] ?? '')
  const tour = blocks.filter((block) => !/^(curl|npm|npx|docker|systemctl) /m.test(block))
  expect(tour.length).toBeGreaterThan(6)
  const lines = tour.join('\n').split('\n')
  const claimed = claims.map(([command, comment]) => {
    const isIt = (line: string) => {
      const [said = '', then = ''] = line.split(/ +# /)
      return said === `tailrace ${command}` && then.startsWith(comment)
    }
    expect([command, comment, lines.filter(isIt).length]).toEqual([command, comment, 1])
    return lines.findIndex(isIt)
  })
  await using asking = await askingShell(sandbox, 'tailrace_process')
  const alias = 'alias tailrace='
  expect(lines.filter((line) => line.startsWith(alias))).toHaveLength(1)
  const script = ['shopt -s expand_aliases', ...lines.map((line, at) => marked(line, claimed, at))]
    .join('\n')
    .replace(new RegExp(`^${alias}(.*)$`, 'm'), `alias tailrace_process=$1\n${asking.prologue}`)
    .replace('$(mktemp -d)', sandbox.data)
    .replaceAll('change.json', `${sandbox.directory}/change.json`)
    .replaceAll('run.log', `${sandbox.directory}/run.log`)
    .replaceAll('backup.tailrace', `${sandbox.directory}/backup.tailrace`)
  const { stdout, stderr } = await promisify(execFile)('bash', ['-c', script], { cwd: root })
  for (const [index, [command, , printed]] of claims.entries()) {
    const text = [stdout, stderr].map((all) => all.split(mark(index))[1] ?? '').join('')
    expect([command, text.trim()]).toEqual([command, expect.stringMatching(printed)])
  }
  const said = stderr.split('\n').filter((line) => line.startsWith('tailrace: '))
  expect(said).toEqual([expect.stringMatching(/^tailrace: ECONFLICT: /)])
  for (const part of [
    /^rfc\//m, // the names in the archive
    /compiling\napi\n/, // the watch
    /^r\w{15}: 8 made, 0 found, 0 failed, 0 skipped in [\d.]+ s$/m,
    /^r\w{15}: 0 made, 8 found, /m,
    /^one at a time$/m,
    /^out$/m,
    /^exit code 3$/m,
    /"name":"finish","context":\{"status":0\}/,
  ]) {
    expect(stdout).toMatch(part)
  }
})

/** Stands before and behind what the line of a claim prints. */
function mark(index: number): string {
  return `\x1e${index}\n`
}

/** A line of the tour; one with a claim between its marks, on both streams. */
function marked(line: string, claimed: readonly number[], at: number): string {
  const index = claimed.indexOf(at)
  if (index < 0) return line
  const print = `printf '\\036${index}\\n'`
  const say = `${print}; ${print} >&2`
  return `${say}\n${line}\n${say}`
}
