/** The code of functions, told without their help: the source text of each, the files that its module
 *  imports, and the versions of packages. See rfc/24, rules 12 to 14.
 *  Invariant: a plain value, as an action has; equal for equal code at another place. */

import { LoopSlice } from '../base/loop-slice.js'
import { callback, checkValue } from '../base/shape.js'
import { type AnyFunction, definingModules, textOf } from './definition.js'
import { hexHashOf, type ModuleCode, Modules } from './modules.js'

/** The code of a function, as a part of an action. */
export type FunctionCode = ModuleCode & {
  /** The BLAKE3 of its source text, 64 hex digits. */
  readonly function: string
}

/** Reads the code of functions. Mutable: it remembers the files that it has read, so make one for
 *  each run. */
export class CodeReader {
  readonly #modules = new Modules()

  /** Returns the code of a function or of a class. Throws EINVAL (not a function; one that no module
   *  of the program defines; an import that leads nowhere; a file that cannot be read), E2BIG
   *  (`codeFilesMax`, `sourceSizeMax`). */
  async codeOf(fn: AnyFunction): Promise<FunctionCode> {
    const [code] = await this.codesOf([fn])
    if (!code) throw new Error('each function has a code')
    return code
  }

  /** Returns the code of each function, in their order. Ask for all of a run at once: that is faster.
   *  Functions of one module and one text have the same object, and those of one module the same
   *  `files` and `packages`. Throws what `codeOf` throws. */
  async codesOf(functions: readonly AnyFunction[]): Promise<FunctionCode[]> {
    for (const fn of functions) checkValue('what has code', fn, callback)
    const paths = await definingModules(functions)
    const modules = new Map<string, CodesOfModule>()
    // One after the other: modules of a program share most of their files.
    for (const path of new Set(paths)) {
      modules.set(path, new CodesOfModule(await this.#modules.codeOf(path)))
    }
    const codes: FunctionCode[] = []
    const slice = new LoopSlice()
    for (const [index, fn] of functions.entries()) {
      if (slice.over) await slice.turn()
      const module = modules.get(paths[index] ?? '')
      if (!module) throw new Error('each function has a module')
      codes.push(module.codeOf(textOf(fn)))
    }
    return codes
  }
}

/** The codes of functions of one module, by their texts. */
class CodesOfModule {
  readonly #module: ModuleCode
  readonly #codes = new Map<string, FunctionCode>()

  constructor(module: ModuleCode) {
    this.#module = module
  }

  codeOf(text: string): FunctionCode {
    const known = this.#codes.get(text)
    if (known) return known
    const code = { function: hexHashOf(Buffer.from(text)), ...this.#module }
    this.#codes.set(text, code)
    return code
  }
}
