/** How the tests run: three files at a time, since many wait for disks and processes of their own; the files of
 *  a worker share its process and its modules, since starting and loading took half of the time of many. So a file
 *  leaves nothing behind: no fake clock, no listener, no open store. `.ci/run` asks for a report in JSON besides. */

import { defineConfig } from 'vitest/config'

const report = process.env['TAILRACE_TEST_REPORT']

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 3,
    isolate: false,
    // A condition that is awaited may take long on a slow machine; one that never holds fails all the same.
    expect: { poll: { timeout: 20_000, interval: 20 } },
    reporters: report ? ['default', ['json', { outputFile: report }]] : ['default'],
  },
})
