/** The code of the functions of one run: of each its own hash, and the hash of all that its module is
 *  made of. See rfc/24, rules 12 and 16.
 *  Invariant: functions that are asked for in one turn of the event loop are read together. */

import { type Deferred, deferred } from '../base/deferred.js'
import { pack } from '../cache/packing.js'
import { CodeReader, type FunctionCode } from './code.js'
import { type AnyFunction, lookUpLoops } from './definition.js'
import { hexHashOf, type ModuleCode } from './modules.js'
import { ownVersionOf } from './own-functions.js'

/** The hashes of a function and of its module, 64 hex digits each. */
export type CodeHashes = { readonly function: string; readonly module: string }

/** The module of functions of this package: none of it is the program's own. */
const noCode: ModuleCode = { files: {}, packages: {} }

/** The codes. Mutable; owned by one run. */
export class RunCodes {
  readonly #reader = new CodeReader()
  readonly #known = new Map<AnyFunction, Promise<CodeHashes>>()
  readonly #modules = new Map<string, ModuleCode>()
  /** The hashes of modules: functions of one module have the same files and packages. */
  readonly #hashes = new Map<ModuleCode['files'], string>()
  #asked: Map<AnyFunction, Deferred<CodeHashes>> | undefined
  /** The functions that will be asked for, until the first of them is. */
  #expected: readonly AnyFunction[] = []
  /** Resolves when those that a loop has made are looked up. */
  #lookedUp: Promise<void> = Promise.resolve()

  /** Tells which functions will be asked for. Those that a loop has made are then looked up together
   *  with the first, which takes a hundredth of the time. */
  expect(functions: readonly AnyFunction[]): void {
    this.#expected = functions
  }

  /** Returns the hashes of a function. Throws what `CodeReader` throws. */
  of(fn: AnyFunction): Promise<CodeHashes> {
    const known = this.#known.get(fn)
    if (known) return known
    const own = ownVersionOf(fn)
    if (own !== undefined) return Promise.resolve(this.#hashesOfOwn(own))
    const asked = deferred<CodeHashes>()
    this.#known.set(fn, asked.promise)
    if (!this.#asked) {
      this.#asked = new Map()
      process.nextTick(() => void this.#read())
    }
    this.#asked.set(fn, asked)
    return asked.promise
  }

  /** Returns the hashes of functions, in their order. Functions with one code have the same object.
   *  Throws what `CodeReader` throws. */
  async ofAll(functions: readonly AnyFunction[]): Promise<readonly CodeHashes[]> {
    const own = functions.map(ownVersionOf)
    const codes = await this.#reader.codesOf(functions.filter((_, at) => own[at] === undefined))
    const known = new Map<FunctionCode | string, CodeHashes>()
    let read = 0
    return own.map((version) => {
      const code = version ?? codes[read++]
      if (code === undefined) throw new Error('each function has a code')
      const hashes =
        known.get(code) ??
        (typeof code === 'string' ? this.#hashesOfOwn(code) : this.#hashesOf(code))
      known.set(code, hashes)
      return hashes
    })
  }

  /** The code of each module that was read so far, by its hash. */
  get modules(): ReadonlyMap<string, ModuleCode> {
    return this.#modules
  }

  /** Never throws: those who asked are told. */
  async #read(): Promise<void> {
    const asked = [...(this.#asked ?? [])]
    this.#asked = undefined
    if (this.#expected.length > 0) {
      this.#lookedUp = lookUpLoops(this.#expected)
      this.#expected = []
    }
    await this.#lookedUp
    try {
      const codes = await this.#reader.codesOf(asked.map(([fn]) => fn))
      for (const [at, [, { resolve }]] of asked.entries()) {
        const code = codes[at]
        if (code) resolve(this.#hashesOf(code))
      }
    } catch {
      // The error is that of one of them.
      for (const [fn, { resolve, reject }] of asked) {
        await this.#reader.codeOf(fn).then((code) => resolve(this.#hashesOf(code)), reject)
      }
    }
  }

  #hashesOfOwn(version: string): CodeHashes {
    const module = hexHashOf(pack(noCode, 'a module'))
    this.#modules.set(module, noCode)
    return { function: hexHashOf(Buffer.from(version)), module }
  }

  #hashesOf({ function: hash, files, packages }: FunctionCode): CodeHashes {
    const known = this.#hashes.get(files)
    if (known !== undefined) return { function: hash, module: known }
    const code = { files, packages }
    const module = hexHashOf(pack(code, 'a module'))
    this.#hashes.set(files, module)
    this.#modules.set(module, code)
    return { function: hash, module }
  }
}
