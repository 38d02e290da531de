/** The commands that change keys: put, append, rm, mkdir, txn. See rfc/6. They print nothing unless
 *  asked (`--json`): an exit code of 0 means durable. */

import type { Store } from '../api/store.js'
import {
  type Capping,
  type Committed,
  type CommittedOp,
  type Expiry,
  type Guard,
  type Op,
  opsMax,
  transactionSizeMax,
} from '../api/transaction.js'
import { parseJson } from '../base/json.js'
import { defined } from '../base/shape.js'
import { TailraceError } from '../error.js'
import { parseTransaction } from '../wire/transaction.js'
import {
  argument,
  type CommandContext,
  command,
  file,
  flag,
  input,
  inputFile,
  key,
  type OptionValues,
  option,
  stdin,
  UsageError,
} from './command.js'
import {
  cap,
  capOf,
  expiry,
  expiryOf,
  ifLease,
  json,
  leaseGuards,
  namespace,
  once,
  onceOf,
  place,
  producer,
  producerOf,
} from './options.js'
import { type PlaceCall, withStore } from './session.js'
import { countedInput, inputChunks, lineGroups, readAhead, readAll, stdinChunks } from './stdin.js'

/** The largest sum of the lines that one transaction appends, in bytes. */
const linesSizeMax = 4 * 1024 * 1024
/** The largest JSON of a transaction, in bytes (values in base64 are a third longer). */
const textSizeMax = 12 * 1024 * 1024

export const put = command({
  name: 'put',
  summary: 'set a key to a value, to a file, or to stdin (-)',
  parameters: { key: argument('<key>', key), value: argument('[value]', input) },
  options: {
    namespace,
    file: option('--file <path>', 'the value is that file', file),
    type: option('--type <mime>', 'content type to keep with the key'),
    ifRef: option('--if-ref <ref>', 'only if the key has that ref'),
    ifAbsent: flag('--if-absent', 'only if the key is not there', { excludes: ['ifRef'] }),
    ...ifLease,
    ...expiry,
    ...cap,
    ...once,
    json,
    ...place,
  },
  examples: [
    'tailrace put greeting "hello"',
    'tar c src | tailrace put src.tar -',
    'tailrace put a --file a.bin',
    'tailrace put session/7 active --ttl 30m',
    "tailrace lease run job -- sh -c 'make report | tailrace put report - --if-lease job'",
  ],
  makesStore: true,
  run: async (call) => {
    const { args, options } = call
    if ((args.value === undefined) === (options.file === undefined)) {
      throw new UsageError(
        'put takes one of VALUE, - (stdin) and --file; a VALUE that begins with a dash stands behind --',
      )
    }
    const { ifRef: ref, type: contentType } = options
    const guards: Guard[] = ref === undefined ? [] : [{ key: args.key, ref }]
    if (options.ifAbsent) guards.push({ key: args.key, absent: true })
    guards.push(...leaseGuards(call))
    const value = await putValue(call, args.value, options.file)
    return withStore(call, async (store) => {
      const committed = await store.put(args.key, value, {
        ...scopeOf(options),
        ...defined({ contentType }),
        ...lifeOf(options),
        ...onceOf(options),
        ...(guards.length > 0 ? { guards } : {}),
      })
      await print(call, committed)
    })
  },
})

async function putValue(
  call: CommandContext,
  value: string | typeof stdin | undefined,
  path: string | undefined,
): Promise<string | AsyncIterable<Uint8Array>> {
  if (path !== undefined) return countedInput(path, call)
  return value === undefined || value === stdin ? countedInput(stdin, call) : value
}

const appendOptions = {
  namespace,
  lines: flag('--lines', 'one append for each line of stdin, as it comes', {
    excludes: ['stream'],
  }),
  stream: flag('--stream', 'append stdin as it comes, in pieces of any size'),
  seal: flag('--seal', 'end the key: nothing can be appended after'),
  ...ifLease,
  ...expiry,
  ...cap,
  ...producer,
  ...once,
  json,
  ...place,
}

type AppendCall = CommandContext & { readonly options: OptionValues<typeof appendOptions> }

export const append = command({
  name: 'append',
  summary: 'append a value, or stdin (-), to a key',
  parameters: { key: argument('<key>', key), value: argument('[value]', input) },
  options: appendOptions,
  examples: [
    'tailrace append log "first"',
    'make 2>&1 | tailrace append log - --lines',
    'make 2>&1 | tailrace append log - --lines --keep 1000',
    'tailrace append log --seal',
    'tailrace append log "third" --producer ci --epoch 0 --seq 2',
  ],
  makesStore: true,
  run: async (call) => {
    const { args, options } = call
    const { key, value } = args
    checkAppend(call, value)
    const numbered = producerOf(options)
    const guards = leaseGuards(call)
    return withStore(call, async (store) => {
      if (value === undefined) return commit(store, call, [{ op: 'seal', key }])
      if (options.lines) return appendLines(store, call, key)
      if (options.stream) return appendPieces(store, call, key)
      const hint = 'use --stream (appends as it comes), --lines, or put'
      const bytes = value === stdin ? await readAll(stdinChunks(), transactionSizeMax, hint) : value
      const committed = await store.append(key, bytes, {
        ...scopeOf(options),
        guards,
        ...(options.seal ? { seal: true } : {}),
        ...lifeOf(options),
        ...numbered,
        ...onceOf(options),
      })
      await print(call, committed)
    })
  },
})

/** Throws UsageError for options that mean nothing together. */
function checkAppend({ options }: AppendCall, value: string | typeof stdin | undefined): void {
  const inPieces = options.lines || options.stream
  if (value === undefined && !options.seal) {
    throw new UsageError(
      'append takes VALUE, - (stdin) or --seal; a VALUE that begins with a dash stands behind --',
    )
  }
  if (inPieces && value !== stdin) throw new UsageError('--lines and --stream go with - (stdin)')
  const numbered = producerOf(options).producer
  if (inPieces && (numbered || options.idempotencyKey !== undefined)) {
    throw new UsageError('--producer and --idempotency-key are of one append: use --exactly-once')
  }
  if (value === undefined && (numbered || Object.keys(lifeOf(options)).length > 0)) {
    throw new UsageError(
      '--producer, --ttl, --keep and their kin go with a value: a seal alone is no append',
    )
  }
}

/** Appends each line by itself. Lines that came together go into as few transactions as hold
 *  them. */
async function appendLines(store: Store, call: AppendCall, key: string): Promise<void> {
  const life = lifeOf(call.options)
  for await (const group of lineGroups(stdinChunks(), linesSizeMax)) {
    let ops: Op[] = []
    let size = 0
    for (const value of group) {
      if (ops.length === opsMax || size + value.length > linesSizeMax) {
        await commit(store, call, ops)
        ops = []
        size = 0
      }
      ops.push({ op: 'append', key, value, ...life })
      size += value.length
    }
    await commit(store, call, ops)
  }
  if (call.options.seal) await commit(store, call, [{ op: 'seal', key }])
}

/** Appends pieces of stdin: all that comes while one append is on its way is the next one. */
async function appendPieces(store: Store, call: AppendCall, key: string): Promise<void> {
  const { options } = call
  const guards = leaseGuards(call)
  const appending = { ...scopeOf(options), guards, ...lifeOf(options), ...onceOf(options) }
  for await (const piece of readAhead(stdinChunks())) {
    for (let at = 0; at < piece.length; at += transactionSizeMax) {
      const value = piece.subarray(at, at + transactionSizeMax)
      await print(call, await store.append(key, value, appending))
    }
  }
  if (options.seal) await commit(store, call, [{ op: 'seal', key }])
}

export const rm = command({
  name: 'rm',
  summary: 'remove keys',
  parameters: { keys: argument('<key...>', key) },
  options: {
    namespace,
    recursive: flag('-r, --recursive', 'directories with all that is in them'),
    force: flag('-f, --force', 'a missing key is no error'),
    ...ifLease,
    ...once,
    json,
    ...place,
  },
  examples: ['tailrace rm greeting', 'tailrace rm -r ci/build-7'],
  run: async (call) => {
    const { options, args } = call
    const recursive = options.recursive ? { recursive: true } : {}
    return withStore(call, async (store) => {
      // With an idempotency key the first try may have removed them already.
      if (!options.force && options.idempotencyKey === undefined) {
        for (const key of args.keys) {
          const found = await store.stat(key, { ...scopeOf(options), nofollow: true })
          if (found) continue
          throw new TailraceError('ENOENT', `there is no key "${key}"; --force lets that pass`)
        }
      }
      const ops = args.keys.map((key) => ({ op: 'unlink', key, ...recursive }) as const)
      await commit(store, call, ops)
    })
  },
})

export const mkdir = command({
  name: 'mkdir',
  summary: 'make directories, with their parents',
  parameters: { keys: argument('<key...>', key) },
  options: { namespace, ...ifLease, json, ...place },
  examples: ['tailrace mkdir ci/artifacts'],
  makesStore: true,
  run: async (call) => {
    const ops = call.args.keys.map((key) => ({ op: 'mkdir', key }) as const)
    return withStore(call, (store) => commit(store, call, ops))
  },
})

export const txn = command({
  name: 'txn',
  summary: 'commit several changes at once, guarded, or none',
  description:
    'Commit a transaction, from a file or stdin (-): JSON {"guards": [...], "ops": [...]}. ' +
    'Values are text or {"base64": "..."}. See rfc/12 for all ops and guards.',
  parameters: { file: argument('[file]', inputFile) },
  options: { namespace, ...ifLease, ...once, json, ...place },
  examples: [
    'tailrace txn change.json',
    `tailrace txn - <<< '{"guards":[{"key":"lock","absent":true}],"ops":[{"op":"put","key":"lock","value":"me"}]}'`,
  ],
  makesStore: true,
  run: async (call) => {
    const { options, stdout } = call
    const { file = stdin } = call.args
    if (file === stdin && process.stdin.isTTY) {
      throw new UsageError('txn reads JSON from stdin: pipe it in, or name a file')
    }
    const hint = 'split it, or put large values one by one'
    const text = await readAll(await inputChunks(file), textSizeMax, hint)
    const parsed = parseTransaction(parseJson(text, 'the transaction'))
    const guards = [...(parsed.guards ?? []), ...leaseGuards(call)]
    return withStore(call, async (store) => {
      const scope = { ...scopeOf(options), ...onceOf(options) }
      await stdout.json(await store.commit({ ...parsed, guards }, scope))
    })
  },
})

/** A call of a command that commits. */
type WriteCall = PlaceCall & {
  readonly options: OptionValues<
    typeof ifLease & { namespace: typeof namespace; json: typeof json }
  >
}

/** Commits ops, guarded by the lease that the command line names. Prints the answer with
 *  `--json`. */
export async function commit(
  store: Store,
  call: WriteCall & { readonly options: Partial<OptionValues<typeof once>> },
  ops: readonly Op[],
): Promise<void> {
  const { options } = call
  const { idempotencyKey, idempotencySince, exactlyOnce = false } = options
  const committed = await store.commit(
    { guards: leaseGuards(call), ops },
    { ...scopeOf(options), ...onceOf({ idempotencyKey, idempotencySince, exactlyOnce }) },
  )
  await print(call, committed)
}

async function print(
  { options, stdout }: WriteCall,
  committed: Committed | CommittedOp,
): Promise<void> {
  if (options.json) await stdout.json(committed)
}

/** Returns the options of a write about expiry and the cap of a log. */
function lifeOf(options: OptionValues<typeof expiry & typeof cap>): Expiry & Capping {
  return { ...expiryOf(options), ...capOf(options) }
}

function scopeOf({ namespace }: { readonly namespace: string | undefined }) {
  return defined({ namespace })
}
