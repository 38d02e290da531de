/** Programs of ours that the tests of a file start as processes, bundled before its first test: with a loader of
 *  TypeScript each start would take three times as long. */

import { beforeAll } from 'vitest'
import { bundle } from './bundle.js'

/** Returns the paths of the bundled programs, by the names of `entries`, whose values are files of the project. To
 *  be called where a file of tests is read; the paths are known while its tests run. */
export function bundledPrograms<Name extends string>(
  entries: Readonly<Record<Name, string>>,
): Readonly<Record<Name, string>> {
  const files: Partial<Record<Name, string>> = {}
  beforeAll(async () => {
    const programs = await bundle(entries)
    Object.assign(files, programs.files)
    return () => programs[Symbol.asyncDispose]()
  })
  return files as Record<Name, string>
}
