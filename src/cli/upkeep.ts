/** The commands that free space and check the store: `tailrace gc`, `forget`, `fsck`. See rfc/14,
 *  rfc/15.
 *  Invariant: the exit code of fsck is 0 for a clean store, 1 for one with findings, repaired or
 *  not. The check runs in a process of its own, since a damaged database file may end the process
 *  that reads it. */

import { once } from 'node:events'
import type { CheckReport, Finding } from '../api/check.js'
import type { Collected, CollectProgress } from '../api/upkeep.js'
import { defined } from '../base/shape.js'
import { spawnAlone } from '../base/spawn.js'
import { isCode, TailraceError } from '../error.js'
import { mainFile } from '../local/installation.js'
import { argument, type CommandContext, command, flag, key, type OptionValues } from './command.js'
import { MigrationProgress } from './migration-progress.js'
import { data, json, namespace, place } from './options.js'
import { Progress, transferText } from './progress.js'
import { quoted } from './quote.js'
import { dataDirectory, withStore } from './session.js'

export const gc = command({
  name: 'gc',
  summary: 'free what no root, pin or reader needs, while the store is used',
  description:
    'Free the blobs and nodes that no newest or retained root, no pin and no open reader needs. Writers ' +
    'and watchers go on. A collection also begins by itself when there is much to free. The disk gets back ' +
    'what is freed.',
  options: { dryRun: flag('--dry-run', 'only say what would go'), json, ...place },
  examples: ['tailrace gc', 'tailrace gc --dry-run', 'tailrace gc --json'],
  run: async (call) => {
    const { options, stdout, stderr } = call
    return withStore(call, async (store) => {
      await using line = new Progress(stderr)
      let phase: CollectProgress['phase'] = 'mark'
      const onProgress = (progress: CollectProgress) => {
        if (progress.phase !== phase) line.restart()
        phase = progress.phase
        void line.show((ms) => progressText(progress, ms)) // Nothing depends on it.
      }
      const collected = await store.upkeep.collect({
        dryRun: options.dryRun,
        ...(stderr.canRedraw && { onProgress }),
      })
      await line.clear()
      if (options.json) await stdout.json(collected)
      else await stdout.lines(linesOf(collected))
    })
  },
})

function progressText({ phase, done, total }: CollectProgress, ms: number): string {
  if (phase === 'mark') return `marked: ${done} in use`
  return transferText({ title: phase === 'sweep' ? 'swept' : 'written over', done, total, ms })
}

function linesOf(collected: Collected): string[] {
  const { dryRun, live, freed, steps, longestStepMs, overwritten } = collected
  return [
    `${dryRun ? 'would free' : 'freed'} ${freed.count} blobs: ${freed.size} bytes`,
    `${live.count} blobs are in use: ${live.size} bytes`,
    `${steps} ${steps === 1 ? 'step' : 'steps'}, the longest took ${longestStepMs.toFixed(1)} ms`,
    ...(overwritten === undefined
      ? []
      : [`wrote over ${overwritten} bytes of what was freed, since something was forgotten`]),
  ]
}

export const forget = command({
  name: 'forget',
  summary: 'take a key out of the current tree, the history and the pins, for good',
  description:
    'Remove a key, and all below it, from the current tree, every retained root and every pin of its ' +
    'namespace. The refs of those roots change. Its bytes go with the next "gc", unless another key has ' +
    'the same ones. There is no way back.',
  parameters: { key: argument('<key>', key) },
  options: { namespace, json, ...place },
  examples: ['tailrace forget secrets/token', 'tailrace forget -n staging old/logs --json'],
  run: async (call) => {
    const { args, options, stdout } = call
    return withStore(call, async (store) => {
      const scope = defined({ namespace: options.namespace })
      const forgotten = await store.upkeep.forget(args.key, scope)
      if (options.json) return stdout.json(forgotten)
      const { roots, pins } = forgotten
      await stdout.line(
        `taken out of ${roots} roots and ${pins} pins; "tailrace gc" frees its bytes`,
      )
    })
  },
})

const fsckOptions = {
  repair: flag('--repair', 'set what is damaged aside'),
  direct: flag('--direct', 'in this process', { hidden: true }),
  json,
  data,
}

type FsckCall = CommandContext & { readonly options: OptionValues<typeof fsckOptions> }

export const fsck = command({
  name: 'fsck',
  summary: 'check the store of a data directory, and repair it',
  description:
    'Load and verify everything that the newest root, retained roots and pins of each namespace need. ' +
    'No server may hold the store (tailrace stop). Exit code 1 says that something was found. ' +
    'With --repair what is damaged in the newest tree moves to lost+found, with what survives of it ' +
    'and a note (.lost) of what does not; nothing else is touched.',
  options: fsckOptions,
  examples: [
    'tailrace fsck',
    'tailrace fsck --data /backup/tailrace --json',
    'tailrace fsck --repair',
  ],
  run: async (call) => {
    const { options } = call
    const directory = dataDirectory(options.data, call.environment)
    if (options.direct) return checkHere(call, directory)
    const flags = [options.repair && '--repair', options.json && '--json'].filter(
      (one) => one !== false,
    )
    const child = spawnAlone(
      process.execPath,
      [mainFile, 'fsck', '--direct', '--data', directory, ...flags],
      { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
    )
    process.removeAllListeners('SIGINT') // the child answers it
    process.on('SIGINT', () => {})
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    if (code !== null) return code
    return reportEnd(call, directory, signal)
  },
})

async function checkHere(call: FsckCall, directory: string): Promise<number> {
  const { options, stdout, stderr } = call
  // The parent has gone, so nobody is told of findings, and no repair is begun.
  process.once('disconnect', () => process.exit(130))
  const { checkStore } = await import('../open.js')
  const { findingText } = await import('../fsck/report.js')
  const { json, repair } = options
  await using line = new Progress(stderr)
  await using migration = new MigrationProgress(stderr)
  const report = await checkStore({
    directory,
    repair,
    onMigration: (done, total) => migration.show(done, total),
    onFinding: (finding) => {
      if (json) return
      void line.clear() // The line of the finding stands in its place.
      void stdout.line(findingText(finding)).catch(() => {})
    },
    onProgress: ({ namespace, size: done, total }) => {
      void migration.end()
      const text = (ms: number) => transferText({ title: `checked ${namespace}`, done, total, ms })
      void line.show(text)
    },
  }).catch((error: unknown) => {
    throw isCode(error, 'EBUSY') ? held(error, directory) : error
  })
  await line.clear()
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

/** Reports a check whose process was ended by the database's own code. */
async function reportEnd(
  { options, stdout }: FsckCall,
  directory: string,
  signal: NodeJS.Signals | null,
): Promise<number> {
  if (signal === 'SIGINT' || signal === 'SIGTERM' || signal === 'SIGKILL') return 130
  const { findingText } = await import('../fsck/report.js')
  const message = `the file of the store is damaged so that it cannot be read further (${signal}): restore a copy of ${directory}/store`
  const finding: Finding = { where: 'store', code: 'ECORRUPT', message }
  const checked = { namespaces: 0, roots: 0, nodes: 0, blobs: 0, size: 0 }
  const report: CheckReport = { clean: false, found: 1, findings: [finding], checked }
  if (options.json) await stdout.json(report)
  else await stdout.line(findingText(finding))
  return 1
}
