/** `tailrace jobs rm`: finished jobs go. See rfc/11, rules 16 to 18. */

import type { Jobs, JobView } from '../api/job.js'
import { TailraceError } from '../error.js'
import { parseDuration } from './duration.js'
import { defined, type Invocation, UsageError } from './invocation.js'
import { rowOf } from './jobs.js'
import { withStore } from './session.js'

export async function remove(invocation: Invocation): Promise<undefined> {
  const { options, stdout } = invocation
  const ids = [...new Set(invocation.arguments)]
  const age = options.text('olderThan')
  const output = options.flag('output')
  const dryRun = options.flag('dryRun')
  if ((age === undefined) === (ids.length === 0)) {
    throw new UsageError('jobs rm takes the ids of jobs, or --older-than')
  }
  if (age !== undefined && output) throw new UsageError('--output goes with the ids of jobs')
  const olderThanMs = age === undefined ? undefined : parseDuration('--older-than', age)
  return withStore(invocation, async ({ jobs }) => {
    const going =
      olderThanMs === undefined
        ? named(jobs, ids, { output, dryRun })
        : pruned(jobs, olderThanMs, dryRun)
    const removed: string[] = []
    for await (const view of going) {
      if (options.flag('json')) removed.push(view.id)
      else await stdout.line(dryRun ? rowOf(view).join('  ') : view.id)
    }
    if (options.flag('json')) await stdout.json({ removed, dryRun })
    return undefined
  })
}

/** All are looked at before the first one goes: a wrong id removes nothing. */
async function* named(
  jobs: Jobs,
  ids: readonly string[],
  { output, dryRun }: { readonly output: boolean; readonly dryRun: boolean },
): AsyncGenerator<JobView> {
  const views: JobView[] = []
  for (const id of ids) views.push(await jobs.show(id))
  const open = views.find(({ state }) => state === 'submitted' || state === 'running')
  if (open) {
    const message = `the job ${open.id} is ${open.state}: "tailrace wait" for its end or "tailrace signal" it, then remove it`
    throw new TailraceError('ECONFLICT', message)
  }
  for (const view of views) {
    if (!dryRun) await jobs.remove(view.id, { output })
    yield view
  }
}

async function* pruned(jobs: Jobs, olderThanMs: number, dryRun: boolean): AsyncGenerator<JobView> {
  for (let after: string | undefined; ; ) {
    const page = await jobs.prune({ olderThanMs, dryRun, ...defined({ after }) })
    yield* page.jobs
    if (page.next === undefined) return
    after = page.next
  }
}
