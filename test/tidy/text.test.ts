/** Rules for the text of the sources: no way around the types, no promise made by hand, no polling,
 *  nothing left for later, no doc comment that begins as a fragment. Each failure names the line and
 *  the remedy. */

import { test } from 'vitest'
import { docCommentsOf, loopsOf } from './source.js'
import { files, linesWith, nothing, sources } from './tree.js'

/** Loops that wait for time to pass, each with what they wait for that cannot wake them. */
const timedLoops: Readonly<Record<string, string>> = {
  'src/cli/lease-run.ts': 'a lease is renewed in time: no event says that its holder lives',
  'src/local/local.ts':
    "another client's server tells us nothing, and a watch of its directory may not be had",
  'src/cli/top.ts': 'rates are of the time between two looks, which the caller chooses',
  'src/cli/temporary.ts': 'the end of a server that is no child of ours is no event',
  'src/client/again.ts':
    'a write is sent again until it is answered, because its caller asked for that',
  'src/client/http.ts': 'a read is asked again, with backoff; a server that went away wakes nobody',
  'src/client/jobs.ts': 'a wait is asked again, with backoff',
  'src/store/renewal.ts': 'a lease is renewed in time: no event says that its holder lives',
  'src/cache/publish.ts':
    'bytes are sent again, with backoff; a server that went away wakes nobody',
  'src/worker/remote-log.ts': 'bytes are sent again, with backoff, as src/cache/publish.ts does',
  'src/worker/station.ts':
    'a store that did not answer is asked again; one that is away wakes nobody',
  'src/job/surely.ts': 'a commit that was refused for the moment is sent again, with backoff',
}

/** Tests whose subject has a pace of its own. */
const pacedTests: Readonly<Record<string, string>> = {
  'test/proof/siege': 'clients and attacks come at a rate, for a time',
  'test/proof/overload': 'clients have a pace, and a phase lasts for its time',
}

/** The first word of a doc comment that is a fragment: it needs the line above, or a question, to make
 *  sense. `In-memory` and `By-products` are other words. */
const fragmentStart =
  /^(?:The same|As|Of|What|Those|Who|Whose|Which|How|Where|When|Whether|For|By|In|From|With|Also|Like|On|To|And|Or|That|There|If)(?![\w-])/

test.each<[string, RegExp, string]>([
  ['any', /[:<|&,(=]\s*any\b|\bas any\b|\bany\[\]/, 'say unknown and parse it'],
  ['a non-null !', /[\w)\]]!(?=[.;,)\]\s[(]|$)(?!\s*=)/, 'check for undefined'],
  ['a default export', /^export default\b/, 'export it by its name'],
  ['an enum', /^(export )?(const )?enum\b/, 'make it a union of literals'],
  ['a private of TypeScript', /^\s+(private|protected|public) (?!constructor\b)/, 'say #name'],
])('%s is nowhere', (_name, pattern, remedy) => {
  nothing(
    files
      .filter(({ path }) => !path.endsWith('.config.ts'))
      .flatMap((file) => linesWith(file, pattern).map((line) => `${line}: ${remedy}`)),
  )
})

test('src has no module-level let', () => {
  nothing(
    sources.flatMap((file) =>
      linesWith(file, /^(export )?let /).map((line) => `${line}: let a class own it`),
    ),
  )
})

test('only base makes promises by hand', () => {
  nothing(
    files
      .filter(({ path }) => !path.startsWith('src/base/'))
      .flatMap((file) =>
        linesWith(file, /\bnew Promise\b/).map(
          (line) => `${line}: use base/deferred.ts, events.once or timers/promises`,
        ),
      ),
  )
})

test('nothing polls: no loop waits for time, no test sleeps', () => {
  const pause = /\b(setTimeout|sleep|delay|pause)\(/
  nothing([
    ...sources
      .filter(({ path }) => !(path in timedLoops))
      .filter(({ code }) => loopsOf(code).some((body) => pause.test(body)))
      .map(
        ({ path }) =>
          `${path}: a loop waits for time; wait for the event, or name it in timedLoops`,
      ),
    ...Object.keys(timedLoops)
      .filter((path) => !sources.some((file) => file.path === path))
      .map((path) => `${path} is gone: take it out of timedLoops`),
    // In a test, a loop over a condition may pause where no event tells of it; a pause alone may not.
    ...files
      .filter(({ path }) => path.startsWith('test/'))
      .filter(({ path }) => !Object.keys(pacedTests).some((start) => path.startsWith(start)))
      .flatMap((file) =>
        linesWith(file, /^(?!.*\bwhile \().*\bawait (setTimeout|sleep|delay|pause)\(/).map(
          (line) => `${line}: await the condition, not the time`,
        ),
      ),
  ])
})

test('one file listens to signals: a call more is not a listener more', () => {
  nothing(
    sources
      .filter(({ path }) => path !== 'src/base/abort.ts')
      .flatMap((file) =>
        linesWith(file, /EventListener\('abort'|AbortSignal\.any\(|setMaxListeners/),
      )
      // Of a process that ends soon.
      .filter((line) => !line.startsWith('src/cli/'))
      .map((line) => `${line}: use onAbort or eitherSignal (base/abort.ts)`),
  )
})

test('nothing is left for later, and no test is left out', () => {
  nothing(
    files.flatMap((file) => [
      ...linesWith(file, new RegExp(`\\b(${'TO'}DO|${'FIX'}ME|${'X'}XX)\\b`), file.text).map(
        (line) => `${line}: do it or drop it`,
      ),
      ...linesWith(file, /\b(it|test|describe)(\.\w+)*\.(skip|only|todo|skipIf|fails)\b/).map(
        (line) => `${line}: every test runs`,
      ),
    ]),
  )
})

test('a doc comment of src begins with a verb or a noun, not as a fragment', () => {
  nothing(
    sources.flatMap((file) =>
      docCommentsOf(file.text).flatMap(({ line, text }) => {
        const start = fragmentStart.exec(text)?.[0]
        if (start === undefined) return []
        const words = text.split(' ').slice(0, 6).join(' ')
        return [`${file.path}:${line}: "${words}" begins with "${start}". ${howToBegin}`]
      }),
    ),
  )
})

const howToBegin =
  'Begin with a verb ("Returns the root.", "Throws ENOENT.") or a plain noun phrase ' +
  '("The number of watchers.", "The end of the lease, in ms since 1970."), a boolean with "True if".'
