/** Metrics in the text of Prometheus, as a server tells them, and what changed between two looks. See rfc/29,
 *  rules 2 and 3. Pure. */

/** The bounds and counts of a histogram: the counts of all values up to each bound. */
type Bucket = readonly [bound: number, count: number]

/** One look at the metrics of a server. */
export class MetricsText {
  /** The time of the look, in ms of a monotonic clock. */
  readonly at: number
  readonly #values = new Map<string, number>()

  constructor(text: string, at: number) {
    this.at = at
    for (const line of text.split('\n')) {
      const gap = line.lastIndexOf(' ')
      if (line.startsWith('#') || gap < 0) continue
      this.#values.set(line.slice(0, gap), Number(line.slice(gap + 1)))
    }
  }

  /** Returns a value by its name and labels, as the text has them; 0 if it has none. */
  value(name: string): number {
    return this.#values.get(name) ?? 0
  }

  /** Returns the values of a metric with their labels. */
  *labelled(name: string): Generator<{ readonly labels: Labels; readonly value: number }> {
    for (const [full, value] of this.#values) {
      if (full.startsWith(`${name}{`)) yield { labels: labelsOf(full), value }
    }
  }

  /** Returns the sum of a metric over all labels that match. */
  sum(name: string, matches: (labels: Labels) => boolean = () => true): number {
    let sum = 0
    for (const { labels, value } of this.labelled(name)) if (matches(labels)) sum += value
    return sum
  }

  buckets(name: string): readonly Bucket[] {
    return [...this.labelled(`${name}_bucket`)].map(({ labels, value }) => [
      labels.get('le') === '+Inf' ? Number.POSITIVE_INFINITY : Number(labels.get('le')),
      value,
    ])
  }
}

type Labels = ReadonlyMap<string, string>

function labelsOf(full: string): Labels {
  return new Map(
    [...full.matchAll(/(\w+)="([^"]*)"/g)].map(([, name = '', value = '']) => [name, value]),
  )
}

/** The change between two looks at one server. */
export class MetricsChange {
  readonly now: MetricsText
  readonly #before: MetricsText

  constructor(before: MetricsText, now: MetricsText) {
    this.#before = before
    this.now = now
  }

  /** Returns by how much a count has grown in a second. A count that is smaller than before began anew. */
  perSecond(count: (look: MetricsText) => number): number {
    const seconds = (this.now.at - this.#before.at) / 1_000
    const [before, now] = [count(this.#before), count(this.now)]
    return (now < before ? now : now - before) / Math.max(seconds, 1e-3)
  }

  /** Returns a value below which a part of those are that a histogram got between the looks; a bound of the
   *  histogram. Undefined if it got none. */
  quantile(name: string, part: number): number | undefined {
    const before = new Map(this.#before.buckets(name))
    const grown = this.now.buckets(name).map(([bound, count]) => {
      const then = before.get(bound) ?? 0
      return [bound, count < then ? count : count - then] as const
    })
    const all = grown.at(-1)?.[1] ?? 0
    return all === 0 ? undefined : grown.find(([, count]) => count >= all * part)?.[0]
  }

  /** Returns the mean of what a histogram got between the looks. Undefined if it got none. */
  mean(name: string): number | undefined {
    const count = this.perSecond((look) => look.value(`${name}_count`))
    return count === 0 ? undefined : this.perSecond((look) => look.value(`${name}_sum`)) / count
  }
}
