/** How the tests run: three files at a time, since many wait for disks and processes of their own; the files of
 *  a worker share its process and its modules, since starting and loading took half of the time of many. So a file
 *  leaves nothing behind: no fake clock, no listener, no open store. `.ci/run` asks for a report in JSON besides.
 *  Files that take long begin first, so that none of them is alone at the end: in a fresh clone Vitest knows no times,
 *  and takes the largest files first. */

import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** The files that take longest, longest first: the parts of their paths behind `test/`. They need no order among them,
 *  and one that is missing here costs time only. */
const slow: readonly string[] = [
  'cli/flow.test.ts',
  'cache/five-cases.test.ts',
  'flow/kept.test.ts',
  'cache/cache.test.ts',
  'cli/session.test.ts',
  'worker/remote.test.ts',
  'proof/kill.test.ts',
  'client/contract-http.test.ts',
  'client/contract-socket.test.ts',
  'worker/worker.test.ts',
  'kvs/store.test.ts',
  'readme.test.ts',
  'cache/processes.test.ts',
  'readme-programs.test.ts',
  'client/resume.test.ts',
  'proof/migration.test.ts',
  'cli/lease-run.test.ts',
  'engine/migrate.test.ts',
  'server/pace.test.ts',
  'kvs/kill.test.ts',
  'engine/local.test.ts',
  'cache/layers.test.ts',
  'cli/run.test.ts',
  'cli/serve.test.ts',
  'cli/upkeep.test.ts',
  'proof/write-order.test.ts',
  'server/stall-writes.test.ts',
  'server/stall.test.ts',
  'engine/local-collection.test.ts',
  'server/credit.test.ts',
  'proof/kvs-model.test.ts',
  'fsck/fsck.test.ts',
  'cli/stdin.test.ts',
  'cli/backup.test.ts',
  'cli/flow-resume.test.ts',
  'server/overload.test.ts',
  'client/remote.test.ts',
  'value/processes.test.ts',
  'cli/logs.test.ts',
  'proof/siege.test.ts',
  'cli/demo.test.ts',
  'proof/faults.test.ts',
  'cli/output.test.ts',
  'cli/flow-shell.test.ts',
  'client/once-killed.test.ts',
  'local/log-file.test.ts',
  'collect/collect.test.ts',
  'fsck/files.test.ts',
  'fsck/heads.test.ts',
  'eventlog/eventlog.test.ts',
  'local/connect.test.ts',
]

class SlowFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    const rankOf = ({ moduleId }: TestSpecification) => {
      const rank = slow.findIndex((path) => moduleId.endsWith(`/test/${path}`))
      return rank < 0 ? slow.length : rank
    }
    return sorted.sort((a, b) => rankOf(a) - rankOf(b))
  }
}

const report = process.env['TAILRACE_TEST_REPORT']

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 3,
    isolate: false,
    setupFiles: ['test/support/temporary.ts'],
    sequence: { sequencer: SlowFirst },
    // A condition that is awaited may take long on a slow machine; one that never holds fails all the same.
    expect: { poll: { timeout: 20_000, interval: 20 } },
    reporters: report ? ['default', ['json', { outputFile: report }]] : ['default'],
  },
})
