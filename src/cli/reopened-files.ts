/** The texts of a directory with a reopened call: the page that says what happened, and the script that
 *  makes the call again. See rfc/27, rules 7 and 8. Pure.
 *  Invariant: a shell reads each word of the script as the text that it stands for. */

import type { ReopenedCall } from '../api/flow-look.js'
import { differenceLines, shownAction } from './cache.js'
import { timeText } from './units.js'

/** The place of the code of a call: the file of its targets, and the working directory. */
export type CodePlace = { readonly file: string; readonly directory: string }

/** Returns the page of a reopened call. */
export function readmeOf(call: ReopenedCall, code: CodePlace | undefined): string {
  return [
    `# ${call.target}: the call that ${call.state === 'failed' ? 'failed' : 'made its result'}`,
    runText(call),
    ...errorText(call),
    ...differencesText(call),
    ...logText(call),
    ...againText(call, code),
    ...commandText(call),
    ...inputsText(call),
    ...actionText(call),
    '',
  ].join('\n\n')
}

function runText({ run, at, host, origin, lastMade }: ReopenedCall): string {
  const where = host ? ` on ${host.name} (${host.platform}, Node ${host.node})` : ''
  const when = at === undefined ? '' : `, ${timeText(at, { utc: true })}`
  const words = origin ? `: \`${[origin.file, ...origin.targets].join(' ')}\`` : ''
  const from = origin ? `, in ${origin.directory}` : ''
  const made = lastMade === undefined ? '' : `\nIts last success was in run ${lastMade}.`
  return `In run ${run}${words}${from}${where}${when}.${made}`
}

function errorText({ error }: ReopenedCall): readonly string[] {
  if (!error) return []
  const { code, message, stack } = error
  const said = stack?.includes(message) ? stack : [message, stack].filter(Boolean).join('\n')
  return ['## Error', fenced(code === undefined ? said : `${said}\ncode: ${code}`)]
}

function differencesText({ state, differences }: ReopenedCall): readonly string[] {
  if (state === 'made') return []
  const title = '## What differs from its last success'
  if (!differences) return [title, 'It was never made in this flow.']
  if (differences.length > 0) return [title, fenced(differenceLines(differences).join('\n'))]
  return [title, 'Nothing that is known: the same code, parameters and inputs.']
}

function logText({ log }: ReopenedCall): readonly string[] {
  return log === undefined ? [] : ['## Output', `What it printed is in \`${log}\`.`]
}

function againText({ kind }: ReopenedCall, code: CodePlace | undefined): readonly string[] {
  const title = '## Again'
  if (kind === 'none') {
    return [title, 'The call had not begun: what failed is the look at its inputs or its code.']
  }
  if (kind === 'command') {
    return [title, '`./again` runs the command in `work/`, with its environment and its stdin.']
  }
  const from = code
    ? `the function as ${code.file} has it, in ${code.directory}`
    : 'the function. The file of the targets is not on this machine: `./again --file FILE`'
  const said = 'It says which code differs from that of the call. The environment is that of today.'
  return [title, `\`./again\` calls ${from}, with the inputs of this call. ${said}`]
}

function commandText({ command }: ReopenedCall): readonly string[] {
  if (!command) return []
  const { run, env, stdin, out, cwd } = command
  const variables = Object.entries(env).map(([name, value]) => `${name}=${word(value)}`)
  return [
    '## Command',
    fenced(run.map(word).join(' ')),
    ...(cwd === undefined ? [] : [`It runs in \`work/${cwd}\`.`]),
    `Its stdin is ${stdin ? 'the file `stdin`' : 'empty'}. It has these variables and no other:`,
    fenced(variables.join('\n')),
    ...(out ? ['Its outputs:', fenced(linesOf(out))] : []),
  ]
}

function linesOf(fields: { readonly [name: string]: string }): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name}: ${value}`)
    .join('\n')
}

function inputsText({ inputs }: ReopenedCall): readonly string[] {
  if (inputs.length === 0) return []
  const lines = inputs.map(({ name, path, missing }) => {
    return path === undefined ? `- ${name}: missing: ${missing}` : `- ${name}: \`${path}\``
  })
  return ['## Inputs', lines.join('\n')]
}

function actionText({ action }: ReopenedCall): readonly string[] {
  if (action === undefined) return []
  const json = JSON.stringify(shownAction(action), null, 2)
  return ['## Action', 'All that the result depends on, by hashes:', fenced(json)]
}

/** Writes a block of text whose fence is longer than any in the text. */
function fenced(text: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([ticks]) => ticks.length))
  const fence = '`'.repeat(longest + 1)
  return `${fence}\n${text.trimEnd()}\n${fence}`
}

/** Returns the script that makes a call again; undefined for one that had not begun. `program`: the words
 *  that begin this program. */
export function scriptOf(
  { kind, command, target }: ReopenedCall,
  { code, program }: { readonly code: CodePlace | undefined; readonly program: readonly string[] },
): string | undefined {
  if (command) {
    const { run, env, stdin, cwd = '.' } = command
    const variables = Object.entries(env).map(([name, value]) => word(`${name}=${value}`))
    const words = ['exec env -i', ...variables, ...run.map(word)].join(' ')
    return [
      '#!/bin/sh',
      `# Runs the command of the target ${target} again, as it was run then.`,
      'here="$(cd "$(dirname "$0")" && pwd)" || exit',
      `cd "$here/work/"${word(cwd)} || exit`,
      `${words} < ${stdin ? '"$here/stdin"' : '/dev/null'}`,
      '',
    ].join('\n')
  }
  if (kind !== 'function') return undefined
  const words = [...program, 'flow', 'again'].map(word).join(' ')
  return [
    '#!/bin/sh',
    `# Calls the function of the target ${target} again, with what it was given then.`,
    'here="$(cd "$(dirname "$0")" && pwd)" || exit',
    ...(code
      ? [`cd ${word(code.directory)} && exec ${words} "$here" --file ${word(code.file)} "$@"`]
      : [`exec ${words} "$here" "$@"`]),
    '',
  ].join('\n')
}

/** Writes a word so that a shell reads it back. */
function word(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
