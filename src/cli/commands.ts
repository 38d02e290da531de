/** All commands, as the help groups them. */

import { exportTree, importTree, verify } from './backup.js'
import { cache } from './cache.js'
import { completeCommand, completion } from './completion.js'
import { cp, fork, link, ln, mv, readlink, restore } from './copies.js'
import { demo, lptest } from './demo.js'
import { doctor } from './doctor.js'
import { eventlog } from './eventlog.js'
import { flow } from './flow.js'
import { diff, log, pin, pins, roots, unpin } from './history.js'
import { jobs, signal, submit, wait } from './jobs.js'
import { lease } from './lease-run.js'
import { tail, trim } from './logs.js'
import { ns, root } from './namespaces.js'
import type { CommandGroup } from './program.js'
import { get, ls, stat } from './read.js'
import { attach, run } from './run.js'
import { serve } from './serve.js'
import { status, stop, version } from './server.js'
import { token } from './tokens.js'
import { metrics, top } from './top.js'
import { blob, treeobj } from './treeobjs.js'
import { forget, fsck, gc } from './upkeep.js'
import { watch } from './watch.js'
import { worker } from './worker.js'
import { append, mkdir, put, rm, txn } from './write.js'

const completing = completeCommand(() => commandGroups.flatMap(({ commands }) => commands))

export const commandGroups: readonly CommandGroup[] = [
  { heading: 'Keys', commands: [get, put, append, rm, ls, stat, mkdir, ln, txn] },
  { heading: 'Logs and events', commands: [watch, tail, trim, eventlog] },
  {
    heading: 'Copies, links, blobs',
    commands: [cp, mv, fork, restore, link, readlink, treeobj, blob],
  },
  { heading: 'Leases, results, flows', commands: [lease, cache, flow, worker] },
  { heading: 'Jobs', commands: [run, submit, attach, jobs, wait, signal] },
  {
    heading: 'Namespaces and history',
    commands: [root, ns, roots, log, diff, pin, unpin, pins],
  },
  { heading: 'Backup and space', commands: [exportTree, importTree, verify, fsck, gc, forget] },
  {
    heading: 'Server and tools',
    commands: [
      ...[serve, status, top, metrics, stop, doctor, token, version],
      ...[completion, completing, lptest, demo],
    ],
  },
]
