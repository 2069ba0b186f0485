/** Figures out of a page of Prometheus text: the collector tells of itself there. */

export interface Figure {
  name: string
  labels: Record<string, string>
  value: number
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*$/
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g

/** Every sample of the page; comments and what is none are passed over. */
export function figuresOf(text: string): Figure[] {
  const found: Figure[] = []
  for (const line of text.split('\n')) {
    if (line.startsWith('#')) continue
    const match = LINE.exec(line)
    if (match === null) continue
    const labels = Object.fromEntries([...(match[2] ?? '').matchAll(LABEL)].map(([, name, value]) => [name!, unescaped(value!)]))
    found.push({ name: match[1]!, labels, value: numberOf(match[3]!) })
  }
  return found
}

const unescaped = (text: string): string => text.replace(/\\(.)/g, (_, char: string) => (char === 'n' ? '\n' : char))

function numberOf(text: string): number {
  if (/^[+-]?inf$/i.test(text)) return text.startsWith('-') ? -Infinity : Infinity
  return Number(text) // "NaN" is one
}

/** The value of the first figure of that name whose labels are these; null where there is none. */
export function figure(figures: readonly Figure[], name: string, labels: Record<string, string> = {}): number | null {
  return figures.find((each) => each.name === name && Object.entries(labels).every(([key, value]) => each.labels[key] === value))?.value ?? null
}

/** The sum over all labels; null where there is none. */
export function total(figures: readonly Figure[], name: string): number | null {
  const all = figures.filter((each) => each.name === name)
  return all.length === 0 ? null : all.reduce((sum, { value }) => sum + value, 0)
}
