/** A check of everything that a store needs to be whole: each ref that a namespace's newest root, a retained
 *  one or a pin leads to is loaded and verified. See rfc/15.
 *  Invariant: reads only. What is found is told once, by the newest tree that has it; damage ends the check
 *  of what is below it, nothing else. Memory: about 30 bytes for each blob and node. */

import { type CheckProgress, type Finding, findingsMax } from '../api/check.js'
import type { Environment } from '../base/environment.js'
import type { Blobref } from '../blob/blobref.js'
import { RefSet } from '../blob/ref-set.js'
import type { Content, NodeSource } from '../content/content.js'
import type { Engine, Head, Root } from '../engine/engine.js'
import { canceled, TailraceError } from '../error.js'
import { LiveNamespace } from '../past/namespace.js'
import { Pins } from '../past/pins.js'
import { type Audit, audit, type Damage, Damaged } from '../tree/audit.js'
import { Clean } from '../tree/clean.js'
import { attempt } from '../tree/inspect.js'
import { rootKey } from '../tree/key.js'
import { Nodes } from '../tree/nodes.js'
import { readRoot, type Trees } from '../tree/root.js'
import type { Dir } from '../tree/treeobj.js'
import { findingOf } from './report.js'

export type CheckOptions = {
  readonly onFinding?: ((finding: Finding) => void) | undefined
  readonly onProgress?: ((progress: CheckProgress) => void) | undefined
  readonly signal?: AbortSignal | undefined
  /** The check ends after so many findings; default: never. */
  readonly findingsMax?: number
}

/** A namespace whose newest root has something damaged. */
export type Hurt = {
  readonly head: Head
  /** Undefined: the root itself cannot be read. */
  readonly trees: Trees | undefined
  readonly metaHurt: boolean
}

type Place = Pick<Finding, 'where' | 'namespace' | 'seq' | 'pin'>

export class Check {
  /** Everything that was found whole. */
  readonly whole = new Clean()
  readonly #damaged = new Damaged()
  readonly nodes: Nodes
  readonly findings: Finding[] = []
  readonly hurt: Hurt[] = []
  found = 0
  readonly #engine: Engine
  readonly #content: Content
  readonly #environment: Environment
  readonly #options: CheckOptions
  readonly #progress = { namespace: '', roots: 0, nodes: 0, blobs: 0, size: 0 }
  /** What was told already, so that older roots do not tell it again: at most `findingsMax`. */
  readonly #told = new Set<string>()
  readonly #roots = new RefSet()

  constructor(
    engine: Engine,
    content: Content,
    environment: Environment,
    options: CheckOptions = {},
  ) {
    this.#engine = engine
    this.#content = content
    this.#environment = environment
    this.#options = options
    const source: NodeSource = { peekNode: () => undefined, loadNode: (ref) => this.#loadNode(ref) }
    this.nodes = new Nodes(source)
  }

  get checked(): Omit<CheckProgress, 'namespace' | 'total'> {
    const { roots, nodes, blobs, size } = this.#progress
    return { roots, nodes, blobs, size }
  }

  /** All namespaces; newest trees first, since what they have is told by them. Throws ECLOSED, ECANCELED. */
  async run(): Promise<void> {
    const heads = await this.#engine.roots()
    heads.sort((a, b) => (a.namespace.name < b.namespace.name ? -1 : 1))
    for (const head of heads) if (!this.stopped) await this.#checkHead(head)
    for (const head of heads) if (!this.stopped) await this.#checkHistory(head)
    if (!this.stopped) await this.#checkPins(heads)
  }

  /** There were as many findings as were asked for: the rest was not looked at. */
  get stopped(): boolean {
    return this.found >= this.#findingsMax
  }

  get #findingsMax(): number {
    return this.#options.findingsMax ?? Number.POSITIVE_INFINITY
  }

  /** Throws what is wrong with a blob. */
  async checkBlob(ref: Blobref, size: number): Promise<void> {
    const bytes = await this.#content.load(ref)
    this.#progress.blobs++
    this.#count(bytes.length)
    if (bytes.length === size) return
    const message = `${ref} has ${bytes.length} bytes, where ${size} are named`
    throw new TailraceError('ECORRUPT', message)
  }

  /** Learns what of these trees is whole; tells nothing. */
  async lookAt({ data, meta }: Trees): Promise<void> {
    for (const dir of [data, meta]) await audit(this.#walk(), dir, rootKey)
  }

  async #checkHead(head: Head): Promise<void> {
    const namespace = head.namespace.name
    this.#progress.namespace = namespace
    this.#progress.roots++
    const { ref } = head.root
    const before = this.found
    const root = await attempt(() => readRoot(this.nodes, ref))
    if ('error' in root) {
      const { code, message } = root.error
      this.#tell({ where: 'root', namespace, key: '/', code, ref, message })
      this.hurt.push({ head, trees: undefined, metaHurt: true })
      return
    }
    const trees = root.value
    await this.#audit(trees.data, { where: 'data', namespace })
    const dataFound = this.found
    await this.#audit(trees.meta, { where: 'meta', namespace })
    this.#roots.add(ref)
    if (this.found === before) return
    this.hurt.push({ head, trees, metaHurt: this.found > dataFound })
  }

  async #checkHistory(head: Head): Promise<void> {
    const namespace = head.namespace.name
    this.#progress.namespace = namespace
    const now = () => this.#environment.now()
    const live = new LiveNamespace(this.#engine, this.nodes, now, head)
    const floor = await attempt(() => live.retention.floor())
    // Where the floor cannot be read the newest root was told of.
    if ('error' in floor) return
    const read = await attempt(async () => {
      for await (const root of this.#engine.history(namespace, floor.value - 1)) {
        if (root.seq >= head.root.seq || this.stopped) break
        await this.#checkRoot(root, { where: 'history', namespace, seq: root.seq })
      }
    })
    if (!('error' in read)) return
    const { code, message } = read.error
    this.#tell({ where: 'history', namespace, code, message })
  }

  async #checkPins(heads: readonly Head[]): Promise<void> {
    const system = heads.find(({ namespace }) => namespace.name === 'system')
    if (!system) return
    const data = async () => (await readRoot(this.nodes, system.root.ref)).data
    const pins = await attempt(() => new Pins(this.nodes, data).list())
    if ('error' in pins) {
      const { code, message } = pins.error
      this.#tell({ where: 'pin', namespace: 'system', key: 'pins', code, message })
      return
    }
    for (const { name, namespace, seq, ref } of pins.value) {
      if (this.stopped) return
      await this.#checkRoot({ seq, ref }, { where: 'pin', namespace, seq, pin: name })
    }
  }

  async #checkRoot({ ref }: Pick<Root, 'ref' | 'seq'>, place: Place): Promise<void> {
    this.#progress.roots++
    if (!this.#roots.add(ref)) return
    const root = await attempt(() => readRoot(this.nodes, ref))
    if ('error' in root) {
      const { code, message } = root.error
      this.#tell({ ...place, key: '/', code, ref, message })
      return
    }
    // Only the newest present of a namespace is ever read.
    await this.#audit(root.value.data, place)
  }

  async #audit(dir: Dir, place: Place): Promise<void> {
    for (const damage of await audit(this.#walk(), dir, rootKey)) this.#tellDamage(damage, place)
  }

  #walk(): Audit {
    return {
      nodes: this.nodes,
      findings: { clean: this.whole, damages: 0 },
      damaged: this.#damaged,
      findingsMax: this.#findingsMax - this.found,
      checkBlob: (ref, size) => this.checkBlob(ref, size),
    }
  }

  #tellDamage(damage: Damage, place: Place): void {
    const { key, lost } = damage
    const from = 'from' in lost ? lost.from : ''
    const id = [place.namespace, place.where === 'meta', key, lost.ref, from].join('\0')
    const old = place.where === 'history' || place.where === 'pin'
    if (old && this.#told.has(id)) return
    if (this.#told.size < findingsMax) this.#told.add(id)
    this.#tell(findingOf(damage, place))
  }

  #tell(finding: Finding): void {
    this.found++
    if (this.findings.length < findingsMax) this.findings.push(finding)
    this.#options.onFinding?.(finding)
  }

  async #loadNode(ref: Blobref): Promise<Uint8Array> {
    const bytes = await this.#content.loadNode(ref)
    this.#progress.nodes++
    this.#count(bytes.length)
    return bytes
  }

  #count(size: number): void {
    const { signal, onProgress } = this.#options
    if (signal?.aborted) throw canceled(signal)
    this.#progress.size += size
    onProgress?.({ ...this.#progress, total: this.#engine.stored })
  }
}
