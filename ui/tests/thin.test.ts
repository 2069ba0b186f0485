import { describe, expect, it } from 'vitest'
import { align, paintOrder, plot, summary, type Layer } from '../src/lib/layers'
import { thin } from '../src/lib/thin'

describe('thin', () => {
  it('leaves a short series alone', () => {
    expect(thin(10, [Array(10).fill(1)], 100)).toBeNull()
  })

  it('keeps every spike, up and down, and both ends', () => {
    const flat = Array.from({ length: 10_000 }, () => 1)
    flat[4321] = 99
    flat[4322] = -99
    const kept = thin(flat.length, [flat], 500)!
    expect(kept.length).toBeLessThanOrEqual(502)
    expect(kept).toEqual(expect.arrayContaining([0, 4321, 4322, 9999]))
    expect(kept).toEqual([...kept].sort((a, b) => a - b))
  })

  it('keeps a gap that fills a bucket', () => {
    const values = Array.from({ length: 1000 }, (_, i) => (i >= 400 && i < 600 ? null : i))
    const kept = thin(values.length, [values], 100)!
    expect(kept.some((i) => values[i] === null)).toBe(true)
  })
})

describe('plot', () => {
  const x = [0, 1, 2]

  it('leaves gaps where a number is missing or none, and tells the rounds with none', () => {
    const layers: Layer[] = [{ kind: 'line', label: 'loss', colour: 'blue', values: [1, NaN, null] }]
    const plotted = plot(x, layers, 100)
    expect(plotted.columns).toEqual([x, [1, null, null]])
    expect(plotted.nonFinite).toEqual([1])
  })

  it('stacks amounts on each other, the highest painted first', () => {
    const layers: Layer[] = [
      { kind: 'stack', label: 'done', colour: 'blue', values: [5, 4, null] },
      { kind: 'stack', label: 'lost', colour: 'orange', values: [0, 1, null] },
    ]
    expect(plot(x, layers, 100).columns).toEqual([x, [null, 5, null], [5, 4, null]])
    expect(paintOrder(layers).map((layer) => layer.label)).toEqual(['lost', 'done'])
  })

  it('shows of the whole only what the stack leaves over', () => {
    const layers: Layer[] = [
      { kind: 'stack', label: 'done', colour: 'calm', values: [5, 4, null] },
      { kind: 'whole', label: 'selected', colour: 'faint', values: [5, 5, 5] },
    ]
    expect(plot(x, layers, 100).columns).toEqual([x, [null, 5, 5], [5, 4, null]])
  })

  it('draws a band only where both its edges are known', () => {
    const layers: Layer[] = [{ kind: 'band', label: 'band', colour: 'sky', strength: 0.2, low: [0, null, 1], high: [1, 2, Infinity] }]
    expect(plot(x, layers, 100).columns).toEqual([x, [0, null, null], [1, null, null]])
  })
})

it('aligns curves of different rounds', () => {
  expect(align([0, 1, 2, 3], [1, 3], [10, 30])).toEqual([null, 10, null, 30])
  expect(align([1], [1], undefined)).toEqual([null])
})

it('says in words what a curve shows', () => {
  const text = summary('Loss', [0, 1, 2, 3], [2, 0.5, NaN, 1], String)
  expect(text).toBe('Loss: 1 at round 3, at first 2 at round 0. Lowest 0.5 at round 1, highest 2 at round 0. Not a finite number once.')
  expect(summary('Loss', [], [], String)).toBe('Loss: no values yet.')
})
