/** `tailrace flow`: makes the targets of a file, says what is outdated and why, draws what depends on
 *  what. See rfc/24, rules 24 to 27; flow-runs.ts has its commands for runs, flow-shell.ts for calls.
 *  Invariant: functions of targets run in this process or in its workers; their results stay in the
 *  store. */

import { eitherSignal } from '../base/abort.js'
import { defined } from '../base/shape.js'
import { printDifferences } from './cache.js'
import {
  argument,
  type CommandContext,
  choice,
  command,
  commandGroup,
  file,
  flag,
  many,
  option,
} from './command.js'
import { type FileTargets, targetsOf } from './flow-file.js'
import { log, rm } from './flow-log.js'
import { amount, flow as flowOption, layer } from './flow-options.js'
import { planCommand } from './flow-plan.js'
import { FlowProgress } from './flow-progress.js'
import { report } from './flow-report.js'
import { cancelRun, originOf, resumeCommand } from './flow-resume.js'
import { runCommands } from './flow-runs.js'
import { again, shell } from './flow-shell.js'
import { status } from './flow-status.js'
import { json, place } from './options.js'
import { withStore } from './session.js'
import { typedLike } from './shell-word.js'
import { PassedSignals } from './signals.js'
import { integer } from './units.js'

const ofFlow = { flow: flowOption, layer }
const targetsOfFile = { file: argument('<file>', file), targets: argument('[target...]') }

const run = command({
  name: 'run',
  summary: 'make the targets of a file, and what they depend on; what is there is not made again',
  description:
    'Import a module (.js, .mjs; .ts with tsx in its project, or with a Node that runs it) and make ' +
    'the targets that it exports, all or those that are named, and what they depend on. Their ' +
    'functions run in this process, or in workers (--workers, --threads), whose output goes to ' +
    'stderr, or in those that have joined the store (--remote), on any machine, whose output goes to ' +
    'their own. Results are kept in the cache of the store: what has not changed is found there. ' +
    'stderr gets a line for each target that ends. If a target fails, ' +
    'nothing more begins (stop); what does not depend on it is made (continue); null stands for its ' +
    'result (null); or it is left out: a branch of its array, another with what depends on it (trim). ' +
    'The exit code is 1 if a target failed as stop or continue.',
  parameters: targetsOfFile,
  options: {
    ...ofFlow,
    jobs: option(
      '-j, --jobs <n>',
      'at most so many calls at a time (default: processors, or what workers take)',
      integer(1),
    ),
    workers: option('--workers <n>', 'call functions in so many processes', integer(1)),
    threads: option('--threads <n>', 'call functions in so many threads', integer(1)),
    remote: flag('--remote', 'use workers that have joined the store (tailrace worker), too'),
    label: option('--label <name>', 'of these only those with the label', undefined, {
      needs: 'remote',
    }),
    limit: many('--limit <resource=n>', 'how much there is of what targets need: gpu=1', amount),
    onError: option(
      '--on-error <mode>',
      'for a target that fails and says nothing else: stop (default), continue, null, trim',
      choice(['stop', 'continue', 'null', 'trim']),
    ),
    keepGoing: flag('--keep-going', '--on-error continue', { excludes: ['onError'] }),
    retries: option(
      '--retries <n>',
      'call a target that fails and says nothing else so many times more (default: 0)',
      integer(0),
    ),
    rerun: many(
      '--rerun <target>',
      'call it again, or a branch of it (all[2]), though its result is there',
    ),
    rerunDependents: flag('--rerun-dependents', 'call again what depends on these, too', {
      needs: 'rerun',
    }),
    audit: flag('--audit', 'say which files commands read that are no inputs of them (by strace)', {
      excludes: ['workers', 'threads'],
    }),
    json: flag('--json', 'print events as JSON, one a line, then the counts; errors too'),
    resumes: option('--resumes <run>', 'the run that this one goes on with', undefined, {
      hidden: true,
    }),
    ...place,
  },
  examples: [
    'tailrace flow run flow.mjs',
    'tailrace flow run flow.mjs report -j 2 --keep-going',
    'tailrace flow run flow.mjs train --limit gpu=1 --json',
    'tailrace flow run flow.mjs --workers 4',
    'tailrace flow run flow.mjs site --rerun site --audit',
    'tailrace flow run flow.mjs --remote',
  ],
  makesStore: true,
  run: async (call) => {
    const { args, options } = call
    const { room, targets, openWorkers } = await loaded(call, args.targets)
    const known = (await room.graphOf(targets)).length
    return withStore(call, async (store, limit) => {
      const { workers: processes = 0, threads = 0, label } = options
      const isHere = processes + threads === 0 && !options.remote
      const remote = options.remote ? { remote: { store, ...defined({ label }) } } : {}
      await using workers = isHere
        ? undefined
        : await openWorkers({ processes, threads, ...remote })
      using signals = new PassedSignals()
      const stop = new AbortController()
      const either = eitherSignal(signals.interrupted, stop.signal)
      const made = room.run(targets, {
        ...{ store, ...placeOf(options), signal: either.signal },
        ...defined({ concurrency: options.jobs, origin: originOf(call), resumes: options.resumes }),
        ...defined({ workers, retries: options.retries }),
        ...(options.audit && { audit: true }),
        ...{ rerun: options.rerun, rerunDependents: options.rerunDependents },
        limits: Object.fromEntries(options.limit),
        onError: options.keepGoing ? 'continue' : (options.onError ?? 'stop'),
      })
      const ended = async () => {
        stop.abort()
        await made.result.catch(() => {})
      }
      limit.atEnd(ended)
      const join = joinCommand(call)
      const progress = new FlowProgress(call, { json: options.json, known, join })
      try {
        for await (const event of made) await progress.take(event)
        await made.result
      } catch (error) {
        const isLate = stop.signal.aborted
        await ended()
        if (isLate) throw error
        if (signals.exitCode === undefined && !progress.hasTold(error)) throw error
      } finally {
        either.end()
      }
      await progress.end(made.id)
      return signals.exitCode ?? (progress.hasFailed ? 1 : 0)
    })
  },
})

const outdated = command({
  name: 'outdated',
  summary: 'list what flow run would make, and because of what; make nothing',
  description:
    'List what "flow run" would make, each after what it depends on, with the reason: new (it was ' +
    'never made in this flow), changed (see "flow why"), removed (its result is not in the cache ' +
    'any more), inputs (something that it depends on would be made). Nothing is made.',
  parameters: targetsOfFile,
  options: {
    ...ofFlow,
    exitCode: flag('--exit-code', 'end with 1 if anything is outdated'),
    json,
    ...place,
  },
  examples: [
    'tailrace flow outdated flow.mjs',
    'tailrace flow outdated flow.mjs report --exit-code',
  ],
  run: async (call) => {
    const { args, options, stdout } = call
    const { room, targets } = await loaded(call, args.targets)
    return withStore(call, async (store) => {
      const all = await room.outdated(targets, { store, ...placeOf(options) })
      if (options.json) await stdout.json(all)
      else await stdout.lines(all.map(({ target, because }) => `${target}  ${because}`))
      return options.exitCode && all.length > 0 ? 1 : 0
    })
  },
})

const why = command({
  name: 'why',
  summary: 'say in what a target differs from when it was made last: files, packages, inputs',
  parameters: { file: argument('<file>', file), target: argument('<target>') },
  options: { ...ofFlow, json, ...place },
  examples: ['tailrace flow why flow.mjs report'],
  run: async (call) => {
    const { args, options } = call
    const { room, targets } = await loaded(call, [args.target])
    return withStore(call, async (store) => {
      const [target] = targets
      if (!target) throw new Error('a target that is named is there')
      await printDifferences(call, await room.why(target, { store, ...placeOf(options) }))
    })
  },
})

const graph = command({
  name: 'graph',
  summary: 'draw the targets of a file and what they depend on; no store is needed',
  description:
    'Print the targets of a file and what they depend on, each once, its inputs indented below it; ' +
    'name[*] has branches. --mermaid prints a flowchart for Markdown pages.',
  parameters: targetsOfFile,
  options: {
    mermaid: flag('--mermaid', 'a flowchart of Mermaid', { excludes: ['json'] }),
    json,
  },
  examples: ['tailrace flow graph flow.mjs', 'tailrace flow graph flow.mjs report --mermaid'],
  run: async (call) => {
    const { args, options, stdout } = call
    const { room, targets } = await loaded(call, args.targets)
    const all = await room.graphOf(targets)
    if (options.json) return stdout.json(all)
    const { graphLines, mermaidLines } = await import('../flow/draw.js')
    await stdout.lines(options.mermaid ? mermaidLines(all) : graphLines(all))
  },
})

export const flow = commandGroup({
  name: 'flow',
  summary: 'make the targets of a file, once each; say what is outdated, and why',
  commands: [
    run,
    resumeCommand(run),
    cancelRun,
    planCommand(loaded),
    outdated,
    why,
    shell,
    again,
    graph,
    status,
    report,
    ...runCommands,
    log,
    rm,
  ],
  examples: [
    'tailrace flow run flow.mjs',
    'tailrace flow outdated flow.mjs',
    'tailrace flow why flow.mjs report',
    'tailrace flow shell report',
    'tailrace flow ls',
  ],
})

type FileCall = CommandContext & {
  readonly args: { readonly file: string }
  readonly options: { readonly json?: boolean }
}

/** Returns the command by which a worker joins that makes the targets of a call. */
function joinCommand({
  args,
  options,
}: {
  readonly args: { readonly file: string }
  readonly options: { readonly url: string | undefined; readonly data: string | undefined }
}): string {
  const { url, data } = options
  const store = url !== undefined ? ['--url', url] : data !== undefined ? ['--data', data] : []
  return ['tailrace', 'worker', args.file, ...store].map((word) => typedLike(word, '')).join(' ')
}

/** Imports the file of a call, and finds its targets. */
function loaded(
  { args, options, stderr }: FileCall,
  names: readonly string[],
): Promise<FileTargets> {
  return targetsOf({ file: args.file, names }, options.json ? undefined : stderr)
}

function placeOf({
  flow,
  layer,
}: {
  readonly flow: string | undefined
  readonly layer: string | undefined
}) {
  return defined({ flow, layer })
}
