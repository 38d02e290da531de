/** The process between `lease run` and its command. It ends the command, and all that the command
 *  started, when it is told to, and when `lease run` is killed. kept-command.ts starts it as a
 *  program of its own. See rfc/13, rule 18.
 *  Invariant: once the channel to `lease run` is closed, no descendant of this process goes on. */

import type { ChildProcess } from 'node:child_process'
import { constants } from 'node:os'
import { OrphanReaper } from '../base/orphans.js'
import { becomeSubreaper } from '../base/posix.js'
import { descendantsOf, killDescendants, sendSignal } from '../base/processes.js'
import { spawnAlone } from '../base/spawn.js'
import type { KeeperAnswer, KeeperOrder } from './kept-command.js'

/** The time between SIGTERM and SIGKILL, in ms. */
const endMs = 5_000

class Keeper {
  readonly #reaper = new OrphanReaper()
  #command: ChildProcess | undefined
  #deadline: NodeJS.Timeout | undefined
  #ending: Promise<void> | undefined

  take(order: KeeperOrder): void {
    switch (order.type) {
      case 'start':
        this.#start(order)
        return
      case 'signal':
        this.#command?.kill(order.name)
        return
      case 'hold':
        this.#hold(order.ms)
        return
      case 'end':
        this.#ending ??= this.#end()
        return
      default:
        order satisfies never
    }
  }

  #start({ program, rest, env }: Extract<KeeperOrder, { type: 'start' }>): void {
    const command = spawnAlone(program, rest, { stdio: 'inherit', env })
    this.#command = command
    command.once('error', ({ message }) => answer({ type: 'failed', message }))
    command.once('exit', (code, signal) => {
      answer({ type: 'exit', code: code ?? 128 + (signal ? constants.signals[signal] : 0) })
    })
  }

  #hold(ms: number): void {
    clearTimeout(this.#deadline)
    this.#deadline = setTimeout(() => {
      answer({ type: 'expired' })
      this.#ending ??= this.#end()
    }, ms)
  }

  async #end(): Promise<void> {
    for (const pid of descendantsOf(process.pid)) sendSignal(pid, 'SIGTERM')
    const timer = setTimeout(killDescendants, endMs)
    // The last descendant is a child of this process, which is told of its end.
    while (descendantsOf(process.pid).length > 0) {
      await this.#reaper.ended.wait(this.#reaper.ended.count)
    }
    clearTimeout(timer)
    answer({ type: 'ended' })
  }
}

function answer(message: KeeperAnswer): void {
  process.send?.(message)
}

becomeSubreaper()
const keeper = new Keeper()
// A terminal sends these signals to its whole process group; `lease run` decides what they mean.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']) process.on(name, () => {})
process.on('message', (order) => keeper.take(order as KeeperOrder))
process.on('disconnect', () => {
  killDescendants()
  process.exit(1)
})
