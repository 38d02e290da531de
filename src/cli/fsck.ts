/** `tailrace fsck`: checks a store that no server holds, and repairs it. See rfc/15.
 *  Invariant: exit code 0 is a clean store, 1 one with findings, repaired or not. The check runs in a process
 *  of its own, since a database whose file is damaged may end the process that reads it. */

import { once } from 'node:events'
import type { CheckReport, Finding } from '../api/check.js'
import { spawnAlone } from '../base/spawn.js'
import { isCode, TailraceError } from '../error.js'
import { mainFile } from './entry.js'
import type { Invocation } from './invocation.js'
import { dataDirectory } from './local.js'
import { quoted } from './quote.js'
import { Ticker } from './ticker.js'

export async function fsck(invocation: Invocation): Promise<number> {
  const { options, environment } = invocation
  const directory = dataDirectory(options.text('data'), environment)
  if (options.flag('direct')) return checkHere(invocation, directory)
  const flags = ['repair', 'json'].filter((name) => options.flag(name)).map((name) => `--${name}`)
  const child = spawnAlone(
    process.execPath,
    [mainFile, 'fsck', '--direct', '--data', directory, ...flags],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  )
  process.removeAllListeners('SIGINT') // the child's to answer; it comes to both
  process.on('SIGINT', () => {})
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  if (code !== null) return code
  return reportEnd(invocation, directory, signal)
}

async function checkHere(invocation: Invocation, directory: string): Promise<number> {
  const { options, stdout, stderr } = invocation
  // Its parent has gone, however that ended: nobody is told what this finds, and a repair is not begun.
  process.once('disconnect', () => process.exit(130))
  const { checkStore } = await import('../open.js')
  const { findingText } = await import('../fsck/report.js')
  const ticker = new Ticker(stderr)
  const json = options.flag('json')
  const report = await checkStore({
    directory,
    repair: options.flag('repair'),
    onFinding: (finding) => {
      if (!json) void stdout.line(findingText(finding)).catch(() => {})
    },
    onProgress: ({ namespace, roots, blobs, nodes, size, total }) => {
      const text = () => {
        const part = total === 0 ? 100 : Math.min(100, Math.floor((100 * size) / total))
        const megabytes = (size / 1e6).toFixed(0)
        return `${namespace}: ${roots} roots, ${nodes} nodes, ${blobs} blobs, ${megabytes} MB (${part} %)`
      }
      void ticker.update(text).catch(() => {})
    },
  }).catch((error: unknown) => {
    throw isCode(error, 'EBUSY') ? held(error, directory) : error
  })
  await ticker.end()
  if (json) await stdout.json(report)
  else await stdout.lines(summary(report))
  return report.clean ? 0 : 1
}

function summary({ clean, found, stopped, checked, repaired }: CheckReport): string[] {
  const { namespaces, roots, nodes, blobs, size } = checked
  const lines = (repaired ?? []).flatMap(({ namespace, seq, moved }) => [
    `${namespace}: repaired, seq ${seq}`,
    ...moved.map(
      ({ key, to, note }) =>
        `  ${quoted(key)} → ${to === undefined ? 'nothing was left' : quoted(to)} (see ${quoted(note)})`,
    ),
  ])
  const looked = `${namespaces} namespaces, ${roots} roots, ${nodes} nodes, ${blobs} blobs, ${size} bytes`
  lines.push(
    clean ? `clean: ${looked}` : `${found} ${found === 1 ? 'finding' : 'findings'}: ${looked}`,
  )
  if (stopped) lines.push('the check ended here: --repair looks at all of it')
  return lines
}

function held(error: TailraceError, directory: string): TailraceError {
  const message = `${error.message}; for a server: tailrace stop --data ${directory}, then check again`
  return new TailraceError('EBUSY', message, { cause: error })
}

/** The database's own code ended the process. */
async function reportEnd(
  { options, stdout }: Invocation,
  directory: string,
  signal: NodeJS.Signals | null,
): Promise<number> {
  if (signal === 'SIGINT' || signal === 'SIGTERM' || signal === 'SIGKILL') return 130
  const { findingText } = await import('../fsck/report.js')
  const message = `the file of the store is damaged so that it cannot be read further (${signal}): restore a copy of ${directory}/store`
  const finding: Finding = { where: 'store', code: 'ECORRUPT', message }
  const checked = { namespaces: 0, roots: 0, nodes: 0, blobs: 0, size: 0 }
  const report: CheckReport = { clean: false, found: 1, findings: [finding], checked }
  if (options.flag('json')) await stdout.json(report)
  else await stdout.line(findingText(finding))
  return 1
}
