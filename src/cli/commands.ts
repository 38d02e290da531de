/** All commands, as the help groups them. */

import { backupCommands } from './commands-backup.js'
import { historyCommands } from './commands-history.js'
import { jobCommands, serverCommands } from './commands-jobs.js'
import { eventCommands, followCommands, keyCommands, namespaceCommands } from './commands-keys.js'
import { leaseCommands } from './commands-leases.js'
import { logCommands } from './commands-logs.js'
import { treeCommands } from './commands-trees.js'
import { upkeepCommands } from './commands-upkeep.js'
import type { CommandGroup } from './program.js'

export const commandGroups: readonly CommandGroup[] = [
  { heading: 'Keys', commands: keyCommands },
  { heading: 'Logs and events', commands: [...followCommands, ...logCommands, ...eventCommands] },
  { heading: 'Copies, links, blobs', commands: treeCommands },
  { heading: 'Leases', commands: leaseCommands },
  { heading: 'Jobs', commands: jobCommands },
  { heading: 'Namespaces and history', commands: [...namespaceCommands, ...historyCommands] },
  { heading: 'Backup and space', commands: [...backupCommands, ...upkeepCommands] },
  { heading: 'Server and tools', commands: serverCommands },
]
