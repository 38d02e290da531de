/** The commands that name what is there already: cp, mv, fork, restore, and links. See
 *  rfc/18, rules 1 to 6. */

import { defined } from '../base/shape.js'
import { TailraceError } from '../error.js'
import {
  type ArgumentValues,
  argument,
  type CommandContext,
  command,
  flag,
  key,
  namespaceName,
  type OptionValues,
  option,
  UsageError,
} from './command.js'
import { at, ifLease, json, namespace, place } from './options.js'
import { quoted } from './quote.js'
import { atRoot, root, wholeRoot } from './roots.js'
import { withStore } from './session.js'
import { integer } from './units.js'
import { commit } from './write.js'

const ends = { from: argument('<source>', key), key: argument('<target>', key) }

const fromNamespace = option(
  '--from-namespace <name>',
  'the namespace of the source (default: that of the target)',
  namespaceName,
)
const atSource = option('--at <seq|ref|time>', 'the source as it was at that retained root', root)
const replace = flag('--replace', 'a directory with keys in it that is in the way goes')

export const cp = command({
  name: 'cp',
  summary: 'copy a key or a whole directory, by reference',
  description:
    'Copy a key or a whole directory. Nothing is read or written but the name: a tree of a million ' +
    'keys takes as long as one. A link is followed. The target is the name of the copy, also where a ' +
    'directory of that name is there.',
  parameters: ends,
  options: {
    namespace,
    fromNamespace,
    at: atSource,
    replace,
    recursive: flag('-r, --recursive', 'directories are always whole; may be left out'),
    ...ifLease,
    json,
    ...place,
  },
  examples: [
    'tailrace cp ci/build-7 ci/good',
    'tailrace cp config config --from-namespace staging --replace',
    'tailrace cp greeting old-greeting --at 12',
  ],
  run: async (call) => {
    const { args, options } = call
    const { fromNamespace } = options
    return withStore(call, async (store) => {
      const at = await atRoot(store, options.at, fromNamespace ?? options.namespace)
      await commit(store, call, [
        {
          op: 'copy',
          ...args,
          ...defined({ namespace: fromNamespace }),
          ...at,
          ...replaced(options),
        },
      ])
    })
  },
})

export const mv = command({
  name: 'mv',
  summary: 'move a key or a whole directory',
  description:
    'Move a key, a link itself, or a whole directory, from another namespace too: in one commit that ' +
    'is in both or in neither.',
  parameters: ends,
  options: { namespace, fromNamespace, replace, ...ifLease, json, ...place },
  examples: [
    'tailrace mv ci/build-7 archive/build-7',
    'tailrace mv report report --from-namespace staging',
  ],
  run: async (call) => {
    const { args, options } = call
    const source = defined({ namespace: options.fromNamespace })
    return withStore(call, (store) =>
      commit(store, call, [{ op: 'move', ...args, ...source, ...replaced(options) }]),
    )
  },
})

function replaced({ replace }: { readonly replace: boolean }) {
  return replace ? { replace } : {}
}

export const fork = command({
  name: 'fork',
  summary: 'copy the first appends of a log, open again',
  parameters: ends,
  options: {
    count: option('--count <n>', 'so many appends (blobs)', integer()),
    namespace,
    fromNamespace,
    at: atSource,
    ...ifLease,
    json,
    ...place,
  },
  examples: ['tailrace fork build/log build/retry --count 3'],
  run: async (call) => {
    const { args, options } = call
    const { count, fromNamespace } = options
    if (count === undefined) throw new UsageError('fork takes --count, the appends to keep')
    return withStore(call, async (store) => {
      const at = await atRoot(store, options.at, fromNamespace ?? options.namespace)
      const source = { ...defined({ namespace: fromNamespace }), ...at }
      await commit(store, call, [{ op: 'fork', ...args, count, ...source }])
    })
  },
})

export const restore = command({
  name: 'restore',
  summary: 'make a key or a directory what it was at an older root',
  description:
    'Make a key, or a whole directory (/ is everything), what it was at a retained root, in one ' +
    'commit. It is removed if it was not there then.',
  parameters: { key: argument('<key>', key) },
  options: { at, namespace, ...ifLease, json, ...place },
  examples: ['tailrace restore config --at 120', 'tailrace restore / --at 120'],
  run: async (call) => {
    const { args, options } = call
    const named = options.at
    if (!named) throw new UsageError('restore takes --at, the seq or ref of a retained root')
    return withStore(call, async (store) => {
      const at = await wholeRoot(store, named, options.namespace)
      await commit(store, call, [{ op: 'restore', key: args.key, at }])
    })
  },
})

const linkParameters = { target: argument('<target>', key), key: argument('<key>', key) }
const linkOptions = {
  namespace,
  targetNamespace: option(
    '--target-namespace <name>',
    'the namespace of the target',
    namespaceName,
  ),
  ...ifLease,
  json,
  ...place,
}

export const ln = command({
  name: 'ln',
  summary: 'make a symbolic link to a key',
  parameters: linkParameters,
  options: {
    symbolic: flag('-s, --symbolic', 'the only kind there is; may be left out'),
    ...linkOptions,
  },
  examples: ['tailrace ln -s ci/build-7 ci/latest'],
  makesStore: true,
  run: async (call) => makeLink(call),
})

export const link = command({
  name: 'link',
  summary: 'make a symbolic link to a key (as ln)',
  parameters: linkParameters,
  options: linkOptions,
  examples: ['tailrace link ci/build-7 ci/latest'],
  makesStore: true,
  run: async (call) => makeLink(call),
})

async function makeLink(
  call: CommandContext & {
    readonly args: ArgumentValues<typeof linkParameters>
    readonly options: OptionValues<typeof linkOptions>
  },
): Promise<void> {
  const namespace = call.options.targetNamespace
  return withStore(call, (store) =>
    commit(store, call, [{ op: 'symlink', ...call.args, ...defined({ namespace }) }]),
  )
}

export const readlink = command({
  name: 'readlink',
  summary: 'print where a link leads',
  parameters: { key: argument('<key>', key) },
  options: { namespace, at, json, ...place },
  examples: ['tailrace readlink ci/latest'],
  run: async (call) => {
    const { args, options, stdout } = call
    return withStore(call, async (store) => {
      const found = await store.stat(args.key, {
        ...defined({ namespace: options.namespace }),
        ...(await atRoot(store, options.at, options.namespace)),
        nofollow: true,
      })
      if (!found) throw new TailraceError('ENOENT', `there is no key "${args.key}"`)
      const { target, namespace } = found
      if (target === undefined) throw new TailraceError('EINVAL', `"${args.key}" is no link`)
      if (options.json) await stdout.json({ target, ...defined({ namespace }) })
      else await stdout.line(quoted(namespace === undefined ? target : `${namespace}:${target}`))
    })
  },
})
