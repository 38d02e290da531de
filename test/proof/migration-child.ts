/** Opens a store, and tells in a file that it is open, or how it was refused. Arguments: the data directory,
 *  the file. */

import { openSync, writeSync } from 'node:fs'
import { toTailraceError } from '../../src/error.js'
import { open } from '../../src/open.js'

const [directory = '', toldFile = ''] = process.argv.slice(2)
const told = openSync(toldFile, 'a')

try {
  const store = await open({ directory })
  writeSync(told, 'open\n')
  await store[Symbol.asyncDispose]()
  writeSync(told, 'closed\n')
} catch (error) {
  writeSync(told, `refused ${toTailraceError(error).code} ${toTailraceError(error).message}\n`)
}
