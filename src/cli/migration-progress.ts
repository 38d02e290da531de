/** The progress of a migration, for people: a line on a terminal that is drawn again, and elsewhere one
 *  line as it begins and one as it ends. See rfc/13, rule 31, and rfc/4, rule 20. */

import type { Output } from './output.js'
import { Progress, transferText } from './progress.js'

const beginning =
  'the store has an older format and is brought up to this one, which may take a while'

/** The progress of one migration, which may never begin. */
export class MigrationProgress implements AsyncDisposable {
  readonly #output: Output
  readonly #line: Progress
  readonly #log: ((line: string) => void) | undefined
  #began: number | undefined

  /** `log` takes the lines instead of the output. */
  constructor(output: Output, options: { readonly log?: (line: string) => void } = {}) {
    this.#output = output
    this.#line = new Progress(output)
    this.#log = options.log
  }

  /** Shows bytes so far, and those that there are. */
  show(done: number, total: number): void {
    if (this.#began === undefined) {
      this.#began = performance.now()
      this.#line.restart()
      this.#say(beginning)
    }
    if (this.#log) return
    void this.#line.show((ms) => transferText({ title: 'brought over', done, total, ms }))
  }

  /** Ends the line, and tells how long it took, if there was a migration. */
  async end(): Promise<void> {
    await this.#line.clear()
    if (this.#began === undefined) return
    this.#say(
      `the store has this format now, after ${Math.ceil(performance.now() - this.#began)} ms`,
    )
    this.#began = undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#line.clear()
  }

  #say(line: string): void {
    if (this.#log) this.#log(line)
    else void this.#output.line(`tailrace: ${line}`).catch(() => {}) // nothing depends on it
  }
}
