/** `tailrace doctor`: says what is wrong with a data directory and with the machine that it is on, and
 *  what to do. See rfc/30, rules 13 to 15. */

import { command, file, option } from './command.js'
import type { Diagnosis } from './doctor-check.js'
import { data, json } from './options.js'
import type { Color, Line } from './output.js'

/** A diagnosis, with the name of its check. */
type Finding = Diagnosis & { readonly check: string }

const options = {
  data,
  config: option(
    '--config <file>',
    'the configuration file of the server (default: as for serve)',
    file,
  ),
  json,
}

export const doctor = command({
  name: 'doctor',
  summary: 'check a data directory and this machine (starts and changes nothing)',
  description:
    'Check a data directory, its server, its configuration and this machine. Each line is "ok", "warn", or ' +
    '"FAIL" with what to do. Exit code 1 says that something fails. No server is started, and nothing is changed; ' +
    '"tailrace fsck" reads all of a store.',
  options,
  examples: [
    'tailrace doctor',
    'tailrace doctor --data /var/lib/tailrace --config /etc/tailrace.yaml',
    'tailrace doctor --json',
  ],
  run: async (call) => {
    const serverChecks = await import('../server/server.js')
    // The checks load the parser of the configuration, which other commands do not need.
    const { checks, examine, diagnosesOf } = await import('./doctor-table.js')
    const examined = await examine(call.given, call.environment, serverChecks)
    const findings: Finding[] = []
    for (const check of checks) {
      for (const diagnosis of await diagnosesOf(check, examined)) {
        const finding = { check: check.name, ...diagnosis }
        findings.push(finding)
        if (!call.options.json) await call.stdout.line(lineOf(finding))
      }
    }
    const isFine = findings.every(({ level }) => level !== 'FAIL')
    if (call.options.json) {
      await call.stdout.json({ ok: isFine, directory: examined.directory, findings })
    }
    return isFine ? 0 : 1
  },
})

const colors: { readonly [level in Diagnosis['level']]: Color } = {
  ok: 'green',
  warn: 'yellow',
  FAIL: 'red',
}

/** The width of the names of checks. */
const nameWidth = 11

function lineOf({ check, ...diagnosis }: Finding): Line {
  const { level, text } = diagnosis
  const advice = diagnosis.level === 'ok' ? '' : ` → ${diagnosis.advice}`
  const word = { color: colors[level], text: level.padEnd(4) }
  return [word, ` ${check.padEnd(nameWidth)} ${text}${advice}`]
}
