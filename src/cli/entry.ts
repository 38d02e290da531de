/** The built program's file, for processes that we start: beside this file, or in `dist` where this
 *  file runs from source. */

import { fileURLToPath } from 'node:url'

const built = import.meta.url.endsWith('.ts') ? '../../dist/cli/main.js' : './main.js'

export const mainFile = fileURLToPath(new URL(built, import.meta.url))
