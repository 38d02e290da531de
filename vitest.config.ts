/** How the tests run: two files at a time, since many start processes of their own. `.ci/run` asks for
 *  a report in JSON besides. */

import { defineConfig } from 'vitest/config'

const report = process.env['TAILRACE_TEST_REPORT']

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    maxWorkers: 2,
    // A condition that is awaited may take long on a slow machine; one that never holds fails all the same.
    expect: { poll: { timeout: 20_000, interval: 20 } },
    reporters: report ? ['default', ['json', { outputFile: report }]] : ['default'],
  },
})
