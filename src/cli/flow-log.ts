/** `tailrace flow log` and `rm`: what a target of a run has printed, and the end of what is kept of runs. See
 *  rfc/27, rules 13 to 15. */

import { argument, command, flag, option } from './command.js'
import { flow } from './flow-options.js'
import { runsIn } from './flow-runs.js'
import { forceAlone, json, place } from './options.js'
import { followStore, withStore } from './session.js'
import { integer } from './units.js'
import { ValueOutput } from './value-output.js'

export const log = command({
  name: 'log',
  summary: 'print what a target of a run has printed, also while it runs, from any machine',
  description:
    'Print the output of a target of a run: stderr of a command, its stdout too if its result is files, ' +
    'what a function writes to targetOutput(), and all that one prints in a worker with one slot. At most ' +
    'the last 4 MiB are kept. --follow goes on until the target, or the run, does not go on, and waits ' +
    'for a target that has not begun. A branch is TARGET[I].',
  parameters: { run: argument('<run>'), target: argument('<target>') },
  options: {
    flow,
    follow: flag('-f, --follow', 'go on with what it prints, until it ends'),
    lines: option('-n, --lines <n>', 'begin with the last n lines', integer(0)),
    force: forceAlone,
    ...place,
  },
  examples: ['tailrace flow log RUN train --follow', "tailrace flow log RUN 'sizes[4]' -n 20"],
  run: async (call) => {
    const { args, options, stdout, stderr } = call
    const within = options.follow ? followStore : withStore
    return within(call, async (store) => {
      const runs = await runsIn(store, options.flow)
      const { follow, lines, force } = options
      const outputs = {
        stdout: new ValueOutput(stdout, { force }),
        stderr: new ValueOutput(stderr, { force }),
      }
      const chunks = runs.output(args.run, args.target, {
        follow,
        ...(lines !== undefined && { lines }),
      })
      for await (const { stream, data } of chunks) {
        await outputs[stream].write(data)
        // A reader who follows sees each piece at once.
        if (follow) await outputs[stream].release()
      }
      for (const output of Object.values(outputs)) await output.release()
    })
  },
})

export const rm = command({
  name: 'rm',
  summary: 'remove runs that do not go on: their logs and the output of their targets',
  description:
    'Remove runs: the log, and what the targets have printed. Results stay in the cache, and failures ' +
    'as "flow shell" reopens them. Runs that go on are refused (EBUSY).',
  parameters: { runs: argument('<run...>') },
  options: { flow, json, ...place },
  examples: ['tailrace flow rm RUN'],
  run: async (call) => {
    const { args, options, stdout } = call
    return withStore(call, async (store) => {
      const runs = await runsIn(store, options.flow)
      const removed = [...new Set(args.runs)]
      // A wrong id removes nothing.
      for (const run of removed) await runs.show(run)
      for (const run of removed) await runs.remove(run)
      if (options.json) await stdout.json({ removed })
    })
  },
})
