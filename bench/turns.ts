/** Measures ours and its peers in turn: each run begins with ours and goes through the peers, each
 *  on a new server that runs alone. So what the machine does meanwhile falls on all of them. */

import type { Absent, ColumnId, Figure } from './figures.js'
import { withDirectory } from './scratch.js'
import type { Compared, Started, System } from './systems/system.js'

/** The figures of one turn of one system, by their names. A turn may give several values of one. */
export type Measured<N extends string> = Readonly<Partial<Record<N, number | readonly number[]>>>

/** The values of all runs of each system, or the reason why there are none. */
export class Outcomes<N extends string> {
  readonly #values = new Map<ColumnId, Map<N, number[]>>()
  readonly #absent = new Map<ColumnId, Absent>()

  add(system: ColumnId, measured: Measured<N>): void {
    const all = this.#values.get(system) ?? new Map<N, number[]>()
    this.#values.set(system, all)
    for (const [name, value] of Object.entries(measured) as [N, number | readonly number[]][]) {
      all.set(name, [...(all.get(name) ?? []), ...(typeof value === 'number' ? [value] : value)])
    }
  }

  leaveOut(system: ColumnId, absent: Absent): void {
    this.#absent.set(system, absent)
  }

  isOut(system: ColumnId): boolean {
    return this.#absent.has(system)
  }

  values(system: ColumnId, name: N): readonly number[] {
    return this.#values.get(system)?.get(name) ?? []
  }

  /** The figures of one row, of each system that has it or should have. */
  figures(name: N): readonly Figure[] {
    const absent = [...this.#absent].map(([system, reason]) => ({ system, ...reason }))
    const known = [...this.#values.keys()]
      .filter((system) => !this.#absent.has(system))
      .map((system) => ({ system, values: this.values(system, name) }))
      .filter(({ values }) => values.length > 0)
    return [...known, ...absent]
  }
}

/** Systems that no gate names are measured in so many runs at most: all take too long otherwise. */
const runsOfOthersMax = 2

/** True for ours, and for a system that gates name. */
export function isNamed({ id }: Compared<ColumnId>): boolean {
  return id === 'tailrace' || id === 'file' || id === 'redis'
}

/** Throws where ours fails; a peer that fails is left out, with the reason. */
export async function inTurn<N extends string>(
  systems: readonly System[],
  runs: number,
  turn: (system: System, server: Started) => Promise<Measured<N>>,
): Promise<Outcomes<N>> {
  return inTurnAlone(systems, runs, (system) =>
    withServer(system, (server) => turn(system, server)),
  )
}

/** Measures in turn as `inTurn` does, where a turn starts what it needs itself. */
export async function inTurnAlone<N extends string, S extends Compared<ColumnId> = System>(
  systems: readonly S[],
  runs: number,
  turn: (system: S) => Promise<Measured<N>>,
): Promise<Outcomes<N>> {
  const outcomes = new Outcomes<N>()
  for (const system of systems) {
    const found = system.found()
    if ('missing' in found) outcomes.leaveOut(system.id, { absent: 'missing', why: found.missing })
  }
  for (let run = 0; run < runs; run++) {
    for (const system of systems) {
      if (outcomes.isOut(system.id)) continue
      if (run >= runsOfOthersMax && !isNamed(system)) continue
      try {
        outcomes.add(system.id, await turn(system))
      } catch (error) {
        if (system.id === 'tailrace') throw error
        const why = error instanceof Error ? error.message : String(error)
        outcomes.leaveOut(system.id, { absent: 'failed', why })
      }
    }
  }
  return outcomes
}

/** Starts a server on a new directory, uses it, ends it, and removes the directory. */
export function withServer<T>(system: System, use: (server: Started) => Promise<T>): Promise<T> {
  return withDirectory(async (directory) => {
    await using server = await system.start(directory)
    return await use(server)
  })
}
