/** uPlot's options for our charts: one place for its axes, paths and colours. */

import uPlot from 'uplot'
import { WHOLE, type Axis } from './axis'
import { short } from './format'
import { paintOrder, type Layer } from './layers'

export interface ChartHooks {
  /** The cursor moved to this plotted point; null when it left. */
  hover: (index: number | null) => void
  /** A range of rounds was dragged over, or a double click asks for all of them (null). */
  zoom: (range: [number, number] | null) => void
  /** Rounds at which a line has no finite number. */
  nonFinite: () => readonly number[]
  range: () => readonly [number, number] | null
  drawn: () => void
}

export interface ChartLook {
  width: number
  height: number
  syncKey: string
  fromZero: boolean
  /** The y axis counts: it has no fractions. */
  counts: boolean
  /** How places on the x axis read, and where it may have its ticks. */
  axis: Axis
  format: (value: number) => string
}

const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif'
const MIN_DRAG_PX = 6

/** A custom property of the palette, for canvas. */
export function paletteColour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()
}

const withAlpha = (colour: string, alpha: number): string => `color-mix(in srgb, ${colour} ${alpha * 100}%, transparent)`

/** Points on their own, between gaps: a line has no place to show them. */
const lonePoints: uPlot.Series.Points.Filter = (u, seriesIdx, show) => {
  if (show) return null
  const values = u.data[seriesIdx]!
  const lone: number[] = []
  for (let i = 0; i < values.length; i++) {
    if (values[i] != null && values[i - 1] == null && values[i + 1] == null) lone.push(i)
  }
  return lone.length > 0 ? lone : null
}

/** The point of a curve that has but one. */
const onlyPoint: uPlot.Series.Points.Filter = (u, seriesIdx, show) => {
  if (show) return null
  const values = u.data[seriesIdx]!
  const at = values.findIndex((value) => value != null)
  return at >= 0 && values.findLastIndex((value) => value != null) === at ? [at] : null
}

function seriesOf(layers: readonly Layer[]): { series: uPlot.Series[]; bands: uPlot.Band[] } {
  const series: uPlot.Series[] = [{}]
  const bands: uPlot.Band[] = []
  for (const layer of paintOrder(layers)) {
    const colour = paletteColour(layer.colour)
    if (layer.kind === 'line') {
      series.push({
        label: layer.label,
        stroke: colour,
        width: layer.width ?? 1.75,
        ...(layer.dash ? { dash: layer.dash } : {}),
        spanGaps: layer.sparse ?? false,
        points: { show: (_u, _s, from, to) => to - from <= 30, size: 5, width: 0, fill: colour, filter: layer.sparse ? onlyPoint : lonePoints },
      })
    } else if (layer.kind === 'band') {
      const fill = withAlpha(colour, layer.strength)
      const edge: uPlot.Series = { stroke: withAlpha(colour, layer.strength * 1.6), width: 1, points: { show: false } }
      series.push({ ...edge, label: `${layer.label} low` }, { ...edge, label: `${layer.label} high` })
      bands.push({ series: [series.length - 1, series.length - 2], fill })
    } else {
      series.push({
        label: layer.label,
        stroke: colour,
        fill: colour,
        width: 0,
        points: { show: false },
        paths: (u, idx, from, to) => barPaths(u)(u, idx, from, to),
      })
    }
  }
  return { series, bands }
}

const wideBars = uPlot.paths.bars!({ size: [0.82, 36, 1] })
const tightBars = uPlot.paths.bars!({ size: [1, 36, 1] })
const TIGHT_PX = 5

/** Bars with air between them while there is room for it. */
function barPaths(u: uPlot): uPlot.Series.PathBuilder {
  const { min, max } = u.scales['x']!
  const shown = (max ?? 0) - (min ?? 0) + 1
  return u.bbox.width / devicePixelRatio / shown >= TIGHT_PX ? wideBars : tightBars
}

/** Axis labels; one that would read like its neighbour is left out. */
function labels(splits: readonly (number | null)[], format: (value: number) => string): string[] {
  const texts = splits.map((value) => (value == null ? '' : short(format(value))))
  return texts.map((text, i) => (i > 0 && text === texts[i - 1] ? '' : text))
}

/** Room for the widest label of a y axis. */
const labelRoom: uPlot.Axis.Size = (u, values, axisIdx) => {
  const axis = u.axes[axisIdx]!
  const longest = (values ?? []).reduce((a, b) => (b.length > a.length ? b : a), '')
  u.ctx.font = Array.isArray(axis.font) ? String(axis.font[0]) : FONT
  return Math.max(34, Math.ceil(u.ctx.measureText(longest).width / devicePixelRatio) + 14)
}

function xRange(hooks: ChartHooks, hasBars: boolean): uPlot.Range.Function {
  const pad = hasBars ? 0.5 : 0
  return (_u, min, max) => {
    const zoomed = hooks.range()
    if (zoomed !== null) return [zoomed[0], zoomed[1]]
    if (min === null || max === null) return [0, 1]
    return min === max ? [min - 1, max + 1] : [min - pad, max + pad]
  }
}

function yRange(fromZero: boolean): uPlot.Range.Function {
  return (_u, min, max) => {
    if (min === null || max === null) return [0, 1]
    if (fromZero) return [0, max > 0 ? max * 1.08 : 1]
    const span = max - min || Math.abs(max) * 0.1 || 1
    // A curve that never is negative should not get an axis that is.
    const low = min - span * 0.06
    return [min >= 0 && low < 0 ? 0 : low, max + span * 0.06]
  }
}

export function chartOptions(layers: readonly Layer[], look: ChartLook, hooks: ChartHooks): uPlot.Options {
  const { series, bands } = seriesOf(layers)
  const hasBars = layers.some((layer) => layer.kind === 'stack' || layer.kind === 'whole')
  const line = paletteColour('chart-grid')
  const axis: uPlot.Axis = {
    stroke: paletteColour('chart-label'),
    font: FONT,
    grid: { stroke: line, width: 1 },
    ticks: { show: false },
    border: { show: false },
  }
  return {
    width: look.width,
    height: look.height,
    padding: [8, 18, 0, 0],
    legend: { show: false },
    series,
    bands,
    scales: { x: { time: false, range: xRange(hooks, hasBars) }, y: { range: yRange(look.fromZero) } },
    axes: [
      { ...axis, grid: { show: false }, size: 23, gap: 4, space: look.axis.space, incrs: look.axis.ticks, values: (_u, splits) => labels(splits, look.axis.tick), border: { show: true, stroke: line, width: 1 } },
      { ...axis, size: labelRoom, gap: 6, space: 34, ...(look.counts ? { incrs: WHOLE } : {}), values: (_u, splits) => labels(splits, look.format) },
    ],
    cursor: {
      x: true,
      y: false,
      drag: { x: true, y: false, setScale: false, dist: MIN_DRAG_PX },
      points: { size: 7, width: 2, stroke: () => paletteColour('surface') },
      sync: {
        key: look.syncKey,
        scales: ['x', null],
        filters: { pub: (type) => type === 'mousemove' || type === 'mouseleave', sub: () => true },
      },
      bind: { dblclick: () => () => (hooks.zoom(null), null) },
    },
    hooks: {
      setCursor: [(u) => hooks.hover(u.cursor.idx ?? null)],
      setSelect: [
        (u) => {
          if (u.select.width < MIN_DRAG_PX) return
          const range: [number, number] = [u.posToVal(u.select.left, 'x'), u.posToVal(u.select.left + u.select.width, 'x')]
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
          hooks.zoom(range)
        },
      ],
      draw: [(u) => markNonFinite(u, hooks.nonFinite()), () => hooks.drawn()],
    },
  }
}

/** Small triangles on the x axis where a curve has NaN or an infinity. */
function markNonFinite(u: uPlot, rounds: readonly number[]): void {
  if (rounds.length === 0) return
  const { ctx, bbox } = u
  const size = (rounds.length > 40 ? 2.5 : 4) * devicePixelRatio
  const bottom = bbox.top + bbox.height
  ctx.save()
  ctx.fillStyle = paletteColour('warn')
  ctx.beginPath()
  for (const round of rounds) {
    const x = u.valToPos(round, 'x', true)
    if (x < bbox.left || x > bbox.left + bbox.width) continue
    ctx.moveTo(x, bottom - 2 * size)
    ctx.lineTo(x + size, bottom)
    ctx.lineTo(x - size, bottom)
  }
  ctx.fill()
  ctx.restore()
}
