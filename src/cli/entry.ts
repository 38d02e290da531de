/** The built programs' files, for processes that we start: beside this file, or in `dist` where this
 *  file runs from source. */

import { fileURLToPath } from 'node:url'

const built = import.meta.url.endsWith('.ts') ? '../../dist/cli/' : './'

export const mainFile = fileURLToPath(new URL(`${built}main.js`, import.meta.url))
export const keeperFile = fileURLToPath(new URL(`${built}keeper.js`, import.meta.url))
