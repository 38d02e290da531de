/** Makes a reopened call again: the function of a target is called with what the call was given, without
 *  a store. See rfc/27, rule 5.
 *  Invariant: the values are those of the directory, whatever the code says; what differs is told. */

import { join, resolve } from 'node:path'
import type { CallAgain } from '../api/flow-look.js'
import { differencesOf } from '../cache/cache.js'
import { pack } from '../cache/packing.js'
import { TailraceError } from '../error.js'
import { actionOf, type InputAction, inputActionOf, type TargetAction } from './action.js'
import { CallValues, type PackedCall, readCall } from './call-directory.js'
import { TargetCall } from './calls.js'
import { RunCodes } from './codes.js'
import { isDirectoryPath } from './file-input.js'
import { hexHashOf } from './modules.js'
import type { Plan } from './plan.js'
import type { TargetRecord } from './target.js'

/** Finds the target of the call in a directory among targets and those that they depend on. Throws
 *  ENOENT (there is no call, or no such target), EINVAL. */
export async function callOf(
  directory: string,
  wanted: readonly TargetRecord[],
): Promise<CallAgain> {
  const call = await readCall(directory)
  const name = call.target.replace(/\[[\d,]+\]$/, '')
  const target = [...reachable(wanted)].find((each) => each.name === name)
  if (!target) {
    const names = wanted.slice(0, 10).map((each) => each.name)
    const message = `there is no target ${name} among ${names.join(', ')} and what they depend on`
    throw new TailraceError('ENOENT', message)
  }
  const { target: named, error } = call
  return {
    target: named,
    ...(error && { error: { message: error.message } }),
    differences: await differencesNow(call, target),
    call: async ({ signal = new AbortController().signal } = {}) => {
      const given = await argumentsOf(directory, call, target)
      const again = new TargetCall(signal)
      try {
        return await again.run(target.fn, given)
      } finally {
        again.end()
      }
    },
  }
}

function reachable(wanted: readonly TargetRecord[]): ReadonlySet<TargetRecord> {
  const reached = new Set(wanted)
  // The set grows while it is walked.
  for (const { sources } of reached) for (const source of sources) reached.add(source)
  return reached
}

/** Returns what the function gets. */
async function argumentsOf(
  directory: string,
  call: PackedCall,
  target: TargetRecord,
): Promise<readonly unknown[]> {
  const { elements, action } = call
  const longItems = (hash: string, plan: Plan) => longItemsOf(hash, plan, call, target)
  const values = new CallValues(directory, call, longItems)
  const given: unknown[] = []
  for (const at of elements.keys()) given.push(await values.element(at))
  for (const [at, input] of action.inputs.entries()) {
    given.push(await values.input(input, target.inputs[at]))
  }
  return given
}

/** Returns the items of a long array if they are those that the call got. */
function longItemsOf(
  hash: string,
  plan: Plan,
  call: PackedCall,
  target: TargetRecord,
): readonly InputAction[] | undefined {
  if (plan.type !== 'list') return undefined
  const [hashes, files] = [hashesOf(call, target), filesIn(call.action)]
  const items = plan.items.map((item) => inputActionOf(item, hashes, files))
  return hexHashOf(pack(items, 'inputs')) === hash ? items : undefined
}

/** Compares a call with what it would be here, by the same results and files. */
async function differencesNow(call: PackedCall, target: TargetRecord) {
  const { action, module } = call
  const codes = new RunCodes()
  const code = await codes.of(target.fn)
  const { elements = [] } = action
  const now = actionOf(target, code, hashesOf(call, target), elements, filesIn(action))
  return differencesOf(
    { ...action, module: module ?? action.module },
    // Without the files of the old one their hashes are all that can be compared.
    { ...now, module: (module && codes.modules.get(now.module)) ?? now.module },
  )
}

function hashesOf({ sources }: PackedCall, target: TargetRecord): readonly string[] {
  return target.sources.map(({ name }) => sources[name] ?? '')
}

/** Returns the hashes of the files of an action, by their absolute paths. */
function filesIn({ inputs }: TargetAction): ReadonlyMap<string, string> {
  const files = new Map<string, string>()
  const visit = (input: InputAction): void => {
    if ('file' in input) files.set(absoluteOf(input.file), input.hash)
    if ('items' in input) input.items.forEach(visit)
    if ('fields' in input) Object.values(input.fields).forEach(visit)
  }
  inputs.forEach(visit)
  return files
}

/** Returns the absolute path of a file, or of a directory, which ends with a slash. */
function absoluteOf(path: string): string {
  return isDirectoryPath(path) ? join(resolve(path), '/') : resolve(path)
}
