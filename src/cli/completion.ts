/** `tailrace completion SHELL`, which prints what makes a shell complete our command lines, and
 *  `tailrace __complete`, which those scripts ask at each Tab. See rfc/13, rule 30.
 *  Invariant: `__complete` starts no server, makes nothing, prints no error, and ends `answerMs`
 *  after it asked a server at the latest. */

import { setTimeout as delay } from 'node:timers/promises'
import type { Store } from '../api/store.js'
import { findServer, urlOf } from '../local/local.js'
import { type Candidate, type Candidates, candidatesFor } from './candidates.js'
import { argument, type Command, choice, command, option, type Variables } from './command.js'
import type { Standing } from './command-line.js'
import type { Output } from './output.js'
import { escaped } from './quote.js'
import { dataDirectory, namedServer } from './session.js'
import { type OpenQuote, readWord, typedLike } from './shell-word.js'

/** The time that a server has to answer, in ms. A person waits for the answer; a slower server
 *  completes nothing. */
const answerMs = 1_000

const bashScript = `# Completion of tailrace for bash 4.4 and newer.
_tailrace() {
  local program='"\${COMP_WORDS[0]/#~\\//$HOME/}"' words=() kept= word joins= lines
  # Bash cuts words at = and : and @. They are put together again; "kept" is the part that bash does not replace:
  # all before the last = or :, or before the last @ without that.
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD}"; do
    if [[ $word =~ ^[=:@]+$ && \${#words[@]} -gt 0 ]] &&
      [[ -z \${COMP_LINE-} || $COMP_LINE == *"\${words[-1]}$word"* ]]; then
      words[-1]+=$word kept=\${words[-1]} joins=1
    elif [[ $joins ]]; then
      words[-1]+=$word joins=
    else
      words+=("$word") kept=
    fi
  done
  kept=\${kept%@}
  [[ \${BASH_ALIASES[\${COMP_WORDS[0]}]-} ]] && program=\${BASH_ALIASES[\${COMP_WORDS[0]}]}
  mapfile -t lines < <(
    eval "$program" '__complete --shell bash "--kept=$kept" -- "\${words[@]}"' 2>/dev/null
  )
  COMPREPLY=()
  case \${lines[0]-} in
    words)
      COMPREPLY=("\${lines[@]:1}")
      [[ \${#COMPREPLY[@]} -eq 1 && \${COMPREPLY[0]} == */ ]] && compopt -o nospace 2>/dev/null
      ;;
    files) compopt -o default 2>/dev/null ;;
    directories) compopt -o dirnames 2>/dev/null ;;
    commands)
      compopt -o default 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -c -- "\${words[-1]}")
      ;;
  esac
  return 0
}
complete -F _tailrace tailrace
`

const zshScript = `#compdef tailrace
# Completion of tailrace for zsh.
_tailrace() {
  local program=\${~\${(Q)words[1]}} line text kind
  local -a lines texts shown open openShown
  lines=("\${(@f)$($program __complete --shell zsh -- "\${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}")
  kind=$lines[1]
  shift lines
  [[ $PREFIX == -*=* ]] && [[ $kind != words ]] && compset -P '*='
  case $kind in
    files) _files ;;
    directories) _files -/ ;;
    commands) _command_names -e || _files ;;
    words)
      for line in $lines; do
        text=\${line%%$'\\t'*}
        if [[ $text == */ ]]; then
          open+=("$text") openShown+=("$text")
        else
          texts+=("$text") shown+=("\${line/$'\\t'/  -- }")
        fi
      done
      compadd -V tailrace -l -d shown -a texts
      compadd -V tailrace -S '' -d openShown -a open
      ;;
  esac
}
if [[ \${funcstack[1]} == _tailrace ]]; then
  _tailrace "$@"
else
  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
  compdef _tailrace tailrace
fi
`

const fishScript = `# Completion of tailrace for fish.
function __tailrace_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l lines ($words[1] __complete --shell fish -- $words[2..] "$typed" 2>/dev/null)
    set -l flag (string match -r -- '^-[^=]*=' $typed)
    set -l rest (string replace -r -- '^-[^=]*=' '' $typed)
    switch "$lines[1]"
        case words
            string join \\n -- $lines[2..]
        case files
            string replace -r -- '^' "$flag" (__fish_complete_path "$rest")
        case directories
            string replace -r -- '^' "$flag" (__fish_complete_directories "$rest")
        case commands
            complete -C "$rest"
    end
end
complete -c tailrace -f -k -a '(__tailrace_complete)'
`

const scripts = { bash: bashScript, zsh: zshScript, fish: fishScript } as const
const shell = choice(['bash', 'zsh', 'fish'])

export const completion = command({
  name: 'completion',
  summary: 'print a script that makes a shell complete command lines',
  description:
    'Print a script for bash, zsh or fish that completes commands, options and their values, files, and, ' +
    'where a server runs, keys, ids of jobs, namespaces and pins.',
  parameters: { shell: argument('<shell>', shell) },
  examples: [
    'eval "$(tailrace completion bash)"',
    'eval "$(tailrace completion zsh)"',
    'tailrace completion fish | source',
  ],
  run: async ({ args, stdout }) => stdout.write(scripts[args.shell]),
})

/** Makes the command that the scripts ask: `tailrace __complete -- WORDS`, the last word being the
 *  one to complete. It prints the kind of the answer on a line (`words`, `files`, `directories`,
 *  `commands`), then a candidate on each line, with a tab before its summary. */
export function completeCommand(commands: () => readonly Command[]): Command {
  return command({
    name: '__complete',
    summary: 'candidates for the last of some words',
    hidden: true,
    parameters: { words: argument('[words...]') },
    options: {
      shell: option('--shell <shell>', 'bash: candidates are quoted as it wants them', shell),
      kept: option('--kept <text>', 'the part of the last word that bash does not replace'),
    },
    examples: ["tailrace __complete -- get ''"],
    run: async ({ args, options, stdout, environment }) => {
      const read = args.words.map(readWord)
      const words = read.map(({ text }) => text)
      const { quote } = read.at(-1) ?? { quote: '' }
      const kept = readWord(options.kept ?? '').text
      const open = (given: Standing['given']) => openRunning(given, environment)
      const late = delay(answerMs, undefined, { ref: false })
      const found = await Promise.race([candidatesFor(commands(), words, open), late]).catch(
        () => undefined, // A server that refuses, or has gone, completes nothing.
      )
      if (!found) return
      const lineOf =
        options.shell === 'bash'
          ? ({ text }: Candidate) => bashWord(text, { kept, quote })
          : lineWithSummary
      await print(stdout, found, lineOf)
    },
  })
}

async function print(
  stdout: Output,
  found: Candidates,
  lineOf: (candidate: Candidate) => string,
): Promise<void> {
  const words = found.kind === 'words' ? found.words : []
  const lines = [found.kind, ...words.map(lineOf)]
  await stdout.write(`${lines.join('\n')}\n`)
}

/** Writes a candidate for bash, which inserts it as it is, in the place of the text behind its last
 *  cut or opening quote. */
function bashWord(
  text: string,
  { kept, quote }: { readonly kept: string; readonly quote: OpenQuote },
): string {
  return typedLike(text.startsWith(kept) ? text.slice(kept.length) : text, quote)
}

function lineWithSummary({ text, summary }: Candidate): string {
  return summary === '' ? text : `${text}\t${escaped(summary)}`
}

/** Connects to the server that the options or the environment name; undefined where none runs. */
async function openRunning(
  given: Standing['given'],
  environment: Variables,
): Promise<Store | undefined> {
  const optionOf = (name: string) => {
    const value = given.get(name)
    return typeof value === 'string'
      ? value.replace(/^~(?=\/|$)/, environment['HOME'] ?? '~')
      : undefined
  }
  const options = { data: optionOf('data'), url: optionOf('url') }
  const { connect } = await import('../client/node.js')
  const named = await namedServer({ options, environment })
  const bounded = { timeoutMs: answerMs, reconnect: false }
  if (named) {
    const { url, ...credentials } = named
    return connect(url, { ...bounded, ...credentials })
  }
  const record = await findServer(dataDirectory(options.data, environment))
  return record && connect(urlOf(record), bounded)
}
