/** The terminal of a person who runs a job on a terminal of its own: what is typed goes there byte for byte, and the job's
 *  follows its size. See rfc/13.
 *  Invariant: the terminal is as it was before once this process ends. */

import type { TerminalSize } from '../base/posix.js'

/** Size where there is no terminal. */
const sizeDefault: TerminalSize = { columns: 80, rows: 24 }

/** Size of our terminal, or the default where there is none. */
export function terminalSize(): TerminalSize {
  const { columns, rows } = process.stdout
  return columns > 0 && rows > 0 ? { columns, rows } : sizeDefault
}

/** Passes every key on, Ctrl-C and Ctrl-D too, and calls `resize` with each new size. Undo it by `end`. REQUIRES: stdin is
 *  a terminal. */
export function takeTerminal(resize: (size: TerminalSize) => void): { end(): void } {
  const changed = () => resize(terminalSize())
  const restore = () => process.stdin.setRawMode(false)
  process.stdin.setRawMode(true)
  process.stdout.on('resize', changed)
  process.on('exit', restore)
  changed() // It may have changed since the submit.
  return {
    end: () => {
      process.stdout.off('resize', changed)
      process.off('exit', restore)
      restore()
    },
  }
}
