/** A memory engine whose loads can be held, so that a test decides what happens in between. */

import { type Deferred, deferred } from '../../src/base/deferred.js'
import type { Environment } from '../../src/base/environment.js'
import type { Blobref } from '../../src/blob/blobref.js'
import { MemoryEngine } from '../../src/engine/memory.js'

export class GatedEngine extends MemoryEngine {
  #gate: Deferred<void> | undefined
  #arrived: Deferred<void> | undefined
  #passing = 0
  readonly loaded: Blobref[] = []

  constructor(environment: Environment) {
    super(environment)
  }

  /** Loads wait, but for the next `passing` ones. Resolves when the first one that waits has arrived. */
  hold(passing = 0): Promise<void> {
    this.#gate = deferred()
    this.#arrived = deferred()
    this.#passing = passing
    return this.#arrived.promise
  }

  release(): void {
    this.#gate?.resolve()
    this.#gate = undefined
  }

  override async load(refs: readonly Blobref[]): Promise<(Uint8Array | undefined)[]> {
    this.loaded.push(...refs)
    if (this.#passing > 0) this.#passing--
    else {
      this.#arrived?.resolve()
      await this.#gate?.promise
    }
    return super.load(refs)
  }
}
