/** What a chart is made of, and how its layers become uPlot's data. */

import { thin } from './thin'
import type { Num } from './types'

/** Names of the palette's custom properties in app.css, without the dashes. */
export type Colour = 'blue' | 'orange' | 'green' | 'vermillion' | 'sky' | 'purple' | 'grey' | 'brown' | 'ink' | 'calm' | 'faint'

interface Base {
  label: string
  /** What the label means, where it is short. */
  hint?: string
  colour: Colour
  /** Not drawn until the reader asks for it. */
  hidden?: boolean
}
export interface Line extends Base {
  kind: 'line'
  values: readonly Num[]
  dash?: number[]
  width?: number
  /** Its points are joined across places that only other lines have: curves over steps share no steps. */
  sparse?: boolean
}
/** The space between two curves, filled. */
export interface Band extends Base {
  kind: 'band'
  low: readonly Num[]
  high: readonly Num[]
  strength: number
}
/** Amounts that stand on each other, in the order given. */
export interface Stack extends Base {
  kind: 'stack'
  values: readonly Num[]
}
/** Bars behind all others: the whole that the stack is a part of. */
export interface Whole extends Base {
  kind: 'whole'
  values: readonly Num[]
}
export type Layer = Line | Band | Stack | Whole

export interface Plotted {
  /** x, then one array a curve. */
  columns: (readonly Num[])[]
  /** For each plotted point its index in the layers' values. */
  index: number[] | null
  /** Rounds at which a line has NaN or an infinity: there is no place for it on the axis. */
  nonFinite: number[]
}

/**
 * The order in which layers are painted, and stand in uPlot's data: bars, the tallest first so that the
 * lower ones cover its foot, then bands, then lines, the first named on top.
 */
export function paintOrder(layers: readonly Layer[]): Layer[] {
  const of = (kind: Layer['kind']): Layer[] => layers.filter((layer) => layer.kind === kind)
  return [...of('whole'), ...of('stack').reverse(), ...of('band'), ...of('line').reverse()]
}

export const MIN_MAX = 'From the lowest client to the highest'
export const P5_P95 = 'Where nine in ten clients are: from the 5th to the 95th percentile'
export const P25_P75 = 'Where the middle half of the clients is: from the 25th to the 75th percentile'

const finite = (value: Num | undefined): Num => (value != null && Number.isFinite(value) ? value : null)

/** uPlot's columns for the layers, at most about `maxPoints` a column. */
export function plot(x: readonly number[], layers: readonly Layer[], maxPoints: number): Plotted {
  const broken = new Set<number>()
  const heights = barHeights(x, layers)
  const curves: Num[][] = []
  for (const layer of paintOrder(layers)) {
    if (layer.kind === 'stack' || layer.kind === 'whole') {
      curves.push(heights.get(layer)!)
    } else if (layer.kind === 'band') {
      curves.push(x.map((_, i) => (finite(layer.high[i]) === null ? null : finite(layer.low[i]))))
      curves.push(x.map((_, i) => (finite(layer.low[i]) === null ? null : finite(layer.high[i]))))
    } else {
      curves.push(x.map((_, i) => finite(layer.values[i])))
      x.forEach((round, i) => {
        const value = layer.values[i]
        if (value != null && !Number.isFinite(value)) broken.add(round)
      })
    }
  }
  const index = thin(x.length, curves, maxPoints)
  const columns = [x, ...curves]
  return {
    columns: index === null ? columns : columns.map((column) => index.map((i) => column[i] ?? null)),
    index,
    nonFinite: [...broken].sort((a, b) => a - b),
  }
}

/**
 * How high each layer of bars reaches: a stacked one to the sum of it and those below. Null where it adds nothing:
 * what is drawn behind another bar of the same height shows as a fringe.
 */
function barHeights(x: readonly number[], layers: readonly Layer[]): Map<Layer, Num[]> {
  const heights = new Map<Layer, Num[]>()
  const sums = x.map(() => 0)
  for (const layer of layers) {
    if (layer.kind !== 'stack') continue
    heights.set(
      layer,
      x.map((_, i) => {
        const value = finite(layer.values[i]) ?? 0
        sums[i]! += value
        return value > 0 ? sums[i]! : null
      }),
    )
  }
  for (const layer of layers) {
    if (layer.kind !== 'whole') continue
    heights.set(layer, x.map((_, i) => ((finite(layer.values[i]) ?? 0) > sums[i]! ? layer.values[i]! : null)))
  }
  return heights
}

/** Values of `column` at the rounds `x`: null where it has none. Both lists of rounds ascend. */
export function align(x: readonly number[], rounds: readonly number[], column: readonly Num[] | undefined): Num[] {
  if (column === undefined) return x.map(() => null)
  let i = 0
  return x.map((round) => {
    while (i < rounds.length && rounds[i]! < round) i++
    return rounds[i] === round ? (column[i] ?? null) : null
  })
}

/** What a line says, for those who can't see it. */
export function summary(label: string, x: readonly number[], values: readonly Num[], format: (v: Num) => string, place = (at: number): string => `round ${at}`): string {
  let last = -1
  let first = -1
  let low = -1
  let high = -1
  let broken = 0
  values.forEach((value, i) => {
    if (value == null) return
    if (!Number.isFinite(value)) broken++
    else {
      if (low < 0 || value < values[low]!) low = i
      if (high < 0 || value > values[high]!) high = i
    }
    if (first < 0) first = i
    last = i
  })
  if (last < 0) return `${label}: no values yet.`
  const point = (i: number): string => `${format(values[i]!)} at ${place(x[i]!)}`
  const range = low < 0 ? '' : ` Lowest ${point(low)}, highest ${point(high)}.`
  return `${label}: ${point(last)}, at first ${point(first)}.${range}${broken ? ` Not a finite number ${broken === 1 ? 'once' : `${broken} times`}.` : ''}`
}
