/** A memory engine whose loads can be held, so that a test decides what happens in between. */

import { type Deferred, deferred } from '../../src/base/deferred.js'
import type { Environment } from '../../src/base/environment.js'
import type { Blobref } from '../../src/blob/blobref.js'
import { MemoryEngine } from '../../src/engine/memory.js'

export class GatedEngine extends MemoryEngine {
  #gate: Deferred<void> | undefined
  #arrived: Deferred<void> | undefined
  readonly loaded: Blobref[] = []

  constructor(environment: Environment) {
    super(environment)
  }

  /** From now on loads wait. Resolves when the first one has arrived. */
  hold(): Promise<void> {
    this.#gate = deferred()
    this.#arrived = deferred()
    return this.#arrived.promise
  }

  release(): void {
    this.#gate?.resolve()
    this.#gate = undefined
  }

  override async load(refs: readonly Blobref[]): Promise<(Uint8Array | undefined)[]> {
    this.loaded.push(...refs)
    this.#arrived?.resolve()
    await this.#gate?.promise
    return super.load(refs)
  }
}
