/** Imports a module as Node does, past the loader of the tests: for code that other processes load as well, whose
 *  text must be the same in both. */

import { constants, runInThisContext } from 'node:vm'

/** Returns the exports of the module at a path or a URL. */
export const nativeImport: <T>(specifier: string) => Promise<T> = runInThisContext(
  '(specifier) => import(specifier)',
  { importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER },
)
