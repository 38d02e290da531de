/** Functions of targets that print, for tests of their output. */

import { deferred } from '../../src/base/deferred.js'
import { targetOutput } from '../../src/flow/calls.js'

export function same<T>(value: T): T {
  return value
}

export function prints(lines: number): string {
  const output = targetOutput()
  for (let line = 0; line < lines; line++) output.write(`line ${line}\n`)
  output.write(Buffer.from('done\n'), 'stderr')
  return 'printed'
}

/** Hands words to `printsWhenTold`. */
class Words {
  #word = deferred<string>()

  say(word: string): void {
    this.#word.resolve(word)
  }

  async next(): Promise<string> {
    const word = await this.#word.promise
    this.#word = deferred()
    return word
  }
}

export const told = new Words()

/** Prints each word that it is told, until that is empty. */
export async function printsWhenTold(): Promise<void> {
  const output = targetOutput()
  for (;;) {
    const word = await told.next()
    if (word === '') return
    output.write(`${word}\n`)
  }
}

const calls = { count: 0 }

export function failsOnce(): void {
  calls.count++
  targetOutput().write(`call ${calls.count}\n`)
  if (calls.count === 1) throw new Error('once')
}
