/** The judge of calls on a cache that several processes made of one action at the same time. It knows what each was told,
 *  in which order the calls began and ended, and what the log of the layer says. Pure. */

/** A call of a process. cached: `cached()`. publish: `claim()` and, if there is no result, its `publish()`. */
export type Call = 'cached' | 'publish' | 'rerun' | 'load' | 'remove'

/** The outcome of a call: the version of the result that it read or made (null: a miss), if it removed one, or the code
 *  of its error. Each version is made once, so that its name tells who made it. */
export type Outcome =
  | { readonly value: string | null }
  | { readonly removed: boolean }
  | { readonly failed: string; readonly message: string }

/** A call, and all that is known of it. */
export type Deed = {
  readonly by: string
  readonly call: Call
  /** The times of its begin and its end, in steps of one clock. Without an end it has not ended. */
  readonly begin: number
  readonly end?: number
  /** The versions that its function has made: one for each execution. */
  readonly made: readonly string[]
  readonly outcome?: Outcome
  /** The codes of errors that are right for it. After EUNKNOWN it was done or not, after another one it was not. */
  readonly mayFail?: readonly string[]
  /** True if its process was killed: it has no outcome, and what it had sent counts or does not. */
  readonly isKilled?: boolean
}

/** All that happened to one action. */
export type Story = {
  readonly deeds: readonly Deed[]
  /** The events of the action in the log of the layer, in order. */
  readonly log: readonly string[]
  /** The largest number of executions whose result was never published: of holders that were killed, that were stopped
   *  for too long, or whose function failed. */
  readonly lostMax: number
}

/** Returns what is wrong with a story, in words; nothing if all is right. */
export function complaintsOf({ deeds, log, lostMax }: Story): readonly string[] {
  const complaints = deeds.flatMap(complaintsOfOne)
  const reruns = deeds.filter(({ call }) => call === 'rerun').length
  complaints.push(...complaintsOfLog(log, reruns))
  const executions = deeds.reduce((sum, { made }) => sum + made.length, 0)
  const lost = executions - log.filter((name) => name === 'publish').length
  if (lost < 0 || lost > lostMax) {
    complaints.push(`${executions} executions for the log [${log}]: ${lostMax} may be lost`)
  }
  if (!isExplained(deeds)) {
    complaints.push(`no order of the calls explains them: ${deeds.map(said).join('; ')}`)
  }
  return complaints
}

function complaintsOfOne({ by, call, outcome, mayFail = [], isKilled }: Deed): string[] {
  if (isKilled) return []
  if (!outcome) return [`${call} of ${by} has not ended`]
  const isRefused = 'failed' in outcome && !mayFail.includes(outcome.failed)
  return isRefused ? [`${call} of ${by} failed: ${outcome.failed} ${outcome.message}`] : []
}

/** The log tells of each transaction that changed the result: none replaces one but a rerun. */
function complaintsOfLog(log: readonly string[], reruns: number): string[] {
  let isThere = false
  let replaced = 0
  const complaints: string[] = []
  for (const name of log) {
    if (name === 'publish' && isThere) replaced++
    if (name === 'remove' && !isThere) complaints.push(`a removal of nothing: [${log}]`)
    isThere = name === 'publish'
  }
  if (replaced > reruns) complaints.push(`written ${replaced} times too often: [${log}]`)
  return complaints
}

/** True if there is an order in which the calls, each as one step at some time between its begin and its end, give their
 *  outcomes (they are linearizable: Herlihy and Wing, 1990). */
function isExplained(deeds: readonly Deed[]): boolean {
  const seen = new Set<string>()
  const isOpen = ({ end, isKilled }: Deed) => end === undefined || isKilled === true
  const goOn = (left: readonly Deed[], state: string | null): boolean => {
    if (left.every(isOpen)) return true
    const key = `${left.map((deed) => deeds.indexOf(deed))} ${state}`
    if (seen.has(key)) return false
    seen.add(key)
    const firstEnd = Math.min(...left.map((deed) => deed.end ?? Number.POSITIVE_INFINITY))
    return left
      .filter(({ begin }) => begin < firstEnd)
      .some((deed) => {
        const others = left.filter((each) => each !== deed)
        return statesAfter(deed, state).some((next) => goOn(others, next))
      })
  }
  return goOn(deeds, null)
}

/** The states that may follow a call that has its outcome in this state; none if it cannot have it. A state is the version
 *  of the result that is there. */
function statesAfter({ call, made, outcome, isKilled }: Deed, state: string | null) {
  if (outcome && 'failed' in outcome && outcome.failed !== 'EUNKNOWN') return [state]
  if (!outcome || isKilled || 'failed' in outcome) {
    if (call === 'remove') return [state, null]
    return [state, ...(call === 'rerun' || state === null ? made : [])]
  }
  if ('removed' in outcome) return (state !== null) === outcome.removed ? [null] : []
  const { value } = outcome
  if (call !== 'rerun' && value === state) return [state]
  const isOwn = value !== null && made.includes(value)
  return isOwn && (call === 'rerun' || state === null) ? [value] : []
}

function said({ by, call, begin, end, made, outcome }: Deed): string {
  return `${call} of ${by} from ${begin} to ${end}, made [${made}]: ${JSON.stringify(outcome)}`
}
