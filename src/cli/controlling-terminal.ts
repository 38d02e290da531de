/** The controlling terminal of this process, and its loss: a terminal that is closed sends SIGHUP, and
 *  so does who wants a configuration to be read again. See rfc/30, rule 12.
 *  Invariant: a terminal counts as lost only if it was there before. */

import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { replaceDescriptor } from '../base/posix.js'
import { hasSystemCode } from '../error.js'

/** Opens the terminal neither for good nor as a new controlling one. */
const flags = constants.O_RDONLY | constants.O_NOCTTY | constants.O_NONBLOCK

/** The controlling terminal. Make it when the process starts. */
export class ControllingTerminal {
  readonly #wasThere: boolean

  constructor() {
    this.#wasThere = look() === 'there'
  }

  /** True if this process had a terminal, and has none any more. */
  get isLost(): boolean {
    return this.#wasThere && look() === 'gone'
  }

  /** Puts /dev/null in the place of the standard streams that were the terminal. Call it once the
   *  terminal is lost: at its exit Node resets each terminal that it began with, and aborts (SIGABRT)
   *  where that fails. */
  release(): void {
    const nothing = openSync('/dev/null', constants.O_RDWR)
    try {
      for (const descriptor of [0, 1, 2]) {
        if (fstatSync(descriptor).isCharacterDevice()) replaceDescriptor(descriptor, nothing)
      }
    } finally {
      closeSync(nothing)
    }
  }
}

function look(): 'there' | 'gone' | 'unknown' {
  try {
    closeSync(openSync('/dev/tty', flags))
    return 'there'
  } catch (error) {
    // ENXIO: the process has none. EIO: it was hung up.
    return hasSystemCode(error, 'ENXIO') || hasSystemCode(error, 'EIO') ? 'gone' : 'unknown'
  }
}
