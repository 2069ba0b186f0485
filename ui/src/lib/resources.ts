/** Charts of what a machine's monitor measures: which there are, and how samples become their curves. */

import { byteRate, bytes, megabytes, number, percent, watts } from './format'
import type { Colour, Layer } from './layers'
import type { Node, Num, Samples } from './types'

/** Points of a node's curves that are asked for. */
export const SAMPLE_POINTS = 1200
/** How often they are asked for, at most, when there is news. */
export const CURVES_MS = 2500
/** How often is looked for news of machines: monitors take a reading every 5 s unless told otherwise. */
export const SAMPLES_MS = 5000

const INTERVAL = 'interval_sec'

interface Curve {
  key: string
  label: string
  colour: Colour
  hint?: string
  /** What one of the key's values is of the chart's unit. */
  factor?: number
}

export interface ResourceChart {
  title: string
  /** Drawn where the node has any of them. */
  curves: Curve[]
  format: (value: Num) => string
  /** Drawn only where the node has none of these. */
  unless?: string[]
  /** Amounts of the interval before each reading: drawn per second where the interval is known. */
  rate?: (value: Num) => string
}

export const CHARTS: readonly ResourceChart[] = [
  { title: 'CPU', format: percent, curves: [{ key: 'cpu_pct', label: 'Of the machine', colour: 'blue', hint: 'Share of all its cores that the training process and its children used' }] },
  { title: 'CPU cores', format: number, unless: ['cpu_pct'], curves: [{ key: 'cpu_cores', label: 'In use', colour: 'blue' }] },
  { title: 'Memory', format: megabytes, curves: [{ key: 'ram_mb', label: 'RAM', colour: 'green', hint: 'Of the training process and its children' }] },
  { title: 'Memory', format: percent, unless: ['ram_mb'], curves: [{ key: 'memory_pct', label: 'Of the machine', colour: 'green' }] },
  { title: 'GPU load', format: percent, curves: [{ key: 'gpu_util_pct', label: 'All GPUs', colour: 'purple', hint: 'Mean of them' }] },
  { title: 'GPU memory', format: megabytes, curves: [{ key: 'gpu_vram_mb', label: 'In use', colour: 'purple' }] },
  { title: 'Power', format: watts, curves: [{ key: 'power_w', label: 'Power', colour: 'orange' }] },
  {
    title: 'Power',
    format: watts,
    unless: ['power_w'],
    curves: [
      { key: 'power_vdd_in_mw', label: 'Whole board', colour: 'orange', factor: 0.001 },
      { key: 'power_vdd_cpu_gpu_cv_mw', label: 'CPU, GPU, CV', colour: 'vermillion', factor: 0.001 },
      { key: 'power_vdd_soc_mw', label: 'SoC', colour: 'brown', factor: 0.001 },
    ],
  },
  {
    title: 'Network',
    format: bytes,
    rate: byteRate,
    curves: [
      { key: 'bytes_sent', label: 'Sent', colour: 'vermillion', hint: 'By the whole machine' },
      { key: 'bytes_received', label: 'Received', colour: 'sky', hint: 'By the whole machine' },
    ],
  },
]

/** The charts for a node that has these keys, each with the curves that it has. */
export function chartsOf(keys: ReadonlySet<string>, kinds: readonly ResourceChart[] = CHARTS): ResourceChart[] {
  return kinds.filter((chart) => !chart.unless?.some((key) => keys.has(key)))
    .map((chart) => ({ ...chart, curves: chart.curves.filter((curve) => keys.has(curve.key)) }))
    .filter((chart) => chart.curves.length > 0)
}

/** How many keys a node without any known chart shows at once. */
const PLAIN_CHARTS = 6

/** A chart of its own for any key that was measured. */
export const plainChart = (key: string): ResourceChart => ({ title: key, format: number, curves: [{ key, label: 'Value', colour: 'blue' }] })

/** What a node's page draws: the known charts, and one for each chosen key; where there is neither, the first keys. */
export function chartsShown(keys: readonly string[], chosen: readonly string[]): ResourceChart[] {
  const known = chartsOf(new Set(keys))
  const telling = keys.filter((key) => !/_bucket(\{|$)/.test(key)) // a histogram's buckets say little one by one
  const more = known.length === 0 && chosen.length === 0 ? [...(telling.length > 0 ? telling : keys)].sort().slice(0, PLAIN_CHARTS) : chosen.filter((key) => keys.includes(key))
  return [...CHARTS, ...more.map(plainChart)]
}

/** The keys to ask for. */
export function keysOf(charts: readonly ResourceChart[], keys: ReadonlySet<string>): string[] {
  return [...charts.flatMap((chart) => chart.curves.map((curve) => curve.key)), ...(keys.has(INTERVAL) ? [INTERVAL] : [])]
}

export interface Drawn {
  title: string
  format: (value: Num) => string
  layers: Layer[]
}

/** A place on the time axis where nothing was measured, so that no line is drawn across. */
const GAP_SEC = 0.001

/** The charts' curves over one time axis. */
export function draw(charts: readonly ResourceChart[], samples: Samples | null): { x: number[]; charts: Drawn[] } {
  const { ts, ...values } = samples ?? ({ ts: [] } as unknown as Samples)
  const intervals: Num[] | undefined = values[INTERVAL]
  // A monitor's first reading has no interval: what was before it is another window, or another process.
  const index: (number | null)[] = []
  const x: number[] = []
  ts.forEach((at, i) => {
    if (i > 0 && intervals !== undefined && intervals[i] === null && at - GAP_SEC > ts[i - 1]!) {
      index.push(null)
      x.push(at - GAP_SEC)
    }
    index.push(i)
    x.push(at)
  })
  return {
    x,
    charts: charts.map(({ title, format, curves, rate }) => {
      const perSecond = rate !== undefined && intervals !== undefined
      return {
        title: rate !== undefined && !perSecond ? `${title} per reading` : title,
        format: perSecond ? rate : format,
        layers: curves.map(({ key, label, colour, hint, factor }): Layer => {
          const value = (i: number | null): Num => {
            const told = i === null ? null : (values[key]?.[i] ?? null)
            if (told === null) return null
            if (!perSecond) return told * (factor ?? 1)
            const sec = intervals[i!]
            return sec ? told / sec : null
          }
          return { kind: 'line', label, colour, width: 1.4, values: index.map(value), ...(hint ? { hint } : {}) }
        }),
      }
    }),
  }
}

/** Of what several monitors told of one machine and client, one after the other, the newest. */
export function newestOnly(nodes: readonly Node[]): Node[] {
  const seen = new Set<string>()
  return nodes.filter((node) => {
    const key = JSON.stringify([node.node, node.run_id, node.client_id])
    return !seen.has(key) && seen.add(key)
  })
}
