/** The proofs in their long forms, which take minutes:
 *  `npm run proof -- kill [CYCLES=200 [SEED]]`, `npm run proof -- order [STEPS=200 [SEED]]`,
 *  `npm run proof -- faults [SEED] [--only=NAME,NAME]`, `npm run proof -- migration [SEED] [--only=NAME,NAME]`,
 *  `npm run proof -- siege [MINUTES=10 [SEED]] [--json] [--only=KIND,KIND] [--mix=KIND,KIND] [--phase=SECONDS] [--profile=DIRECTORY]`,
 *  `npm run proof -- overload [SECONDS=300 [SEED]] [--json] [--share=SHARE] [--profile=DIRECTORY]`.
 *  `--only` of `faults` and `migration` splits a run: it takes the faults whose names begin with one of those
 *  given, `pwrite64` or `pwrite64:error=EIO`; the power failures of a migration have the name `power`.
 *  What `kill` judged is in tailrace-kill.json of the system's directory for temporary files where anything
 *  was found. See rfc/16. */

import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { faults, firstCallOf, tryFault } from './faults.js'
import { killCycles } from './kill.js'
import { migrationCalls, tryMigration } from './migration.js'
import { overload, problemsOf as problemsOfOverload } from './overload.js'
import { problemsOf, siege, slownessOf } from './siege.js'
import { tryWriteOrder } from './write-order.js'

const problemsShown = 50
/** More calls of one kind than a fault is tried at. */
const callsMax = 200

async function kill(cycles = 200, seed = anySeed()): Promise<readonly string[]> {
  console.log(`${cycles} cycles, seed ${seed}`)
  const dump = join(tmpdir(), 'tailrace-kill.json')
  const log = console.log
  const { problems, counts } = await killCycles({
    ...{ seed, cycles, processes: 2, clients: 4 },
    ...{ log, dump },
  })
  console.log(counts)
  return problems
}

async function order(steps = 200, seed = anySeed()): Promise<readonly string[]> {
  console.log(`${steps} steps, seed ${seed}`)
  const { problems, images } = await tryWriteOrder({
    ...{ seed, steps },
    ...{ underWay: 6, samples: 4, share: 1 },
  })
  console.log(`${images} images of the disk`)
  return problems
}

/** Each call of each kind, failing once and from then on, until there are no more. */
async function fail(seed = anySeed()): Promise<readonly string[]> {
  console.log(`seed ${seed}`)
  const problems: string[] = []
  for (const fault of faults.filter((each) => isWanted(each.name))) {
    for (const lasting of ['', '+']) {
      const { name, fresh } = fault
      const beside = fresh ? 'a new store' : (fault.beside ?? 'alone')
      const first = firstCallOf(name)
      let when = first
      for (let came = true; came && when < callsMax; when++) {
        const found = await tryFault(fault, `${when}${lasting}`, seed)
        came = found.came
        for (const each of found.problems) {
          const problem = `${name} at ${when}${lasting}, ${beside}: ${each}`
          console.log(problem)
          problems.push(problem)
        }
      }
      console.log(`${name}${lasting}, ${beside}: ${when - 1 - first} calls`)
    }
  }
  return problems
}

/** A migration whose power goes at any moment; one that is killed before each call of each kind; one whose
 *  disk fails at each. */
async function migrate(seed = anySeed()): Promise<readonly string[]> {
  console.log(`seed ${seed}`)
  const all: string[] = []
  if (isWanted('power')) {
    const { problems, images } = await tryMigration({ seed, samples: 4, share: 1 })
    console.log(`${images} images of the disk`)
    all.push(...problems)
  }
  for (const call of migrationCalls) {
    for (const fault of ['signal=SIGKILL', 'error=EIO', 'error=ENOSPC']) {
      if (!isWanted(`${call}:${fault}`)) continue
      const first = firstCallOf(call)
      let when = first
      for (let came = true; came && when < callsMax; when++) {
        const inject = `${call}:${fault}:when=${when}`
        const found = await tryMigration({ ...{ seed, samples: 1, share: 0.1 }, inject })
        came = found.came
        for (const problem of found.problems) {
          console.log(`${inject}: ${problem}`)
          all.push(`${inject}: ${problem}`)
        }
      }
      console.log(`${call}:${fault}: ${when - 1 - first} calls`)
    }
  }
  return all
}

/** Each phase is a line as it ends. `--only`: these kinds, and mixtures of them; `--mix`: this mixture again and
 *  again. `--json`: all of them as JSON besides, last. `--profile`: the directory gets
 *  a CPU profile of the server, for the whole siege. */
async function besiege(minutes = 10, seed = anySeed()): Promise<readonly string[]> {
  console.log(`${minutes} minutes, seed ${seed}`)
  const only = flagOf('only')
  const mix = flagOf('mix')
  const phase = flagOf('phase')
  const profile = flagOf('profile')
  const found = await siege({
    ...{ seed, minutes, log: console.log },
    ...(only === undefined ? {} : { kinds: only.split(',') }),
    ...(mix === undefined ? {} : { mix: mix.split(',') }),
    ...(phase === undefined ? {} : { phaseMs: Number(phase) * 1_000 }),
    ...(profile === undefined ? {} : { profile }),
  })
  for (const line of found.serverLog) console.log(`server: ${line}`)
  console.log(`p99 of the honest clients over all: ${found.p99.toFixed(1)} ms`)
  if (flags.includes('--json')) console.log(JSON.stringify(found))
  return [...problemsOf(found), ...slownessOf(found)]
}

/** `--share`: of the 2,004 clients that never read. `--json`, `--profile`: as of a siege. */
async function overloaded(seconds = 300, seed = anySeed()): Promise<readonly string[]> {
  console.log(`${seconds} seconds, seed ${seed}`)
  const profile = flagOf('profile')
  const found = await overload({
    ...{ seed, seconds, measureMs: 10_000, deafMs: Math.min(60_000, seconds * 1_000), times: 3 },
    ...{ share: Number(flagOf('share') ?? 1), log: console.log },
    ...(profile === undefined ? {} : { profile }),
  })
  for (const line of found.serverLog) console.log(`server: ${line}`)
  if (flags.includes('--json')) console.log(JSON.stringify(found))
  return problemsOfOverload(found)
}

function flagOf(flag: string): string | undefined {
  return flags.find((each) => each.startsWith(`--${flag}=`))?.slice(flag.length + 3)
}

/** True if `--only` names a fault, or is not given. */
function isWanted(fault: string): boolean {
  return (
    flagOf('only')
      ?.split(',')
      .some((name) => fault.startsWith(name)) ?? true
  )
}

function isProof(word: string): word is keyof typeof proofs {
  return Object.hasOwn(proofs, word)
}

function anySeed(): number {
  return Date.now() % 1_000_000
}

const [name, ...words] = process.argv.slice(2)
const flags = words.filter((word) => word.startsWith('--'))
const numbers = words.filter((word) => !word.startsWith('--')).map(Number)
const proofs = {
  kill,
  order,
  faults: fail,
  migration: migrate,
  siege: besiege,
  overload: overloaded,
}
if (name === undefined || !isProof(name)) {
  throw new Error(`one of ${Object.keys(proofs).join(', ')}`)
}
// By their default these signals would end this process, and leave those that it started.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => process.exit(1))
const started = Date.now()
const problems = await proofs[name](...numbers)
for (const problem of problems.slice(0, problemsShown)) console.log(problem)
console.log(`${problems.length} problems in ${Math.round((Date.now() - started) / 1000)} s`)
process.exitCode = problems.length > 0 ? 1 : 0
