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
  'readme.test.ts',
  'kvs/store.test.ts',
  'cache/five-cases.test.ts',
  'cli/session.test.ts',
  'client/contract-http.test.ts',
  'client/contract-socket.test.ts',
  'cache/cache.test.ts',
  'cache/processes.test.ts',
  'cli/run.test.ts',
  'flow/kept.test.ts',
  'readme-programs.test.ts',
  'cli/lease-run.test.ts',
  'cli/upkeep.test.ts',
  'proof/kill.test.ts',
  'proof/migration.test.ts',
  'engine/local-collection.test.ts',
  'cli/serve.test.ts',
  'cli/stdin.test.ts',
  'engine/migrate.test.ts',
  'client/resume.test.ts',
  'client/silence.test.ts',
  'proof/kvs-model.test.ts',
  'cli/output.test.ts',
  'server/pace.test.ts',
  'proof/siege.test.ts',
  'proof/write-order.test.ts',
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
