/** What an old Node is told, and that it can read the file that tells it. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { nodeComplaint, nodeMajorMin } from '../../src/cli/node-version.js'
import { repository } from '../tidy/tree.js'

test('a Node below the bound is told which one is needed, in one line', () => {
  expect(nodeComplaint('18.20.4')).toMatch(
    /^tailrace: EMISCONFIGURED: .*Node 18\.20\.4.*Node 20 .*$/,
  )
  expect(nodeComplaint('9.0.0')).toBeDefined()
  for (const version of ['20.0.0', '22.1.0', '100.0.0'])
    expect(nodeComplaint(version)).toBeUndefined()
  expect(nodeComplaint(process.versions.node)).toBeUndefined()
  const { engines } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'))
  expect(engines.node).toBe(`>=${nodeMajorMin}`)
})

test('the file that is run imports statically nothing, and is written in what Node 12 reads', () => {
  const main = readFileSync(join(repository, 'dist/cli/main.js'), 'utf8')
  expect(main).toContain('process.versions.node')
  expect(main).not.toMatch(/^import\b/m)
  // Newer than Node 12: ?. ?? ??= and a top-level await.
  expect(main).not.toMatch(/\?\.[a-z[(]|\?\?|^await|= await/m)
})
