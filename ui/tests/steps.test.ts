import { describe, expect, it } from 'vitest'
import { customMetrics, stepKeys } from '../src/lib/metrics'
import { lastKnown, overSteps } from '../src/lib/steps'
import type { Round, RunDetail } from '../src/lib/types'

describe('step curves on one axis', () => {
  it('joins the steps of curves that share few of them', () => {
    const plane = overSteps([
      { step: [0, 2], ts: [10, 11], value: [1, 0.5] },
      { step: [1, 2], ts: [10, 11], value: [3, NaN] },
    ])
    expect(plane.axis.place(2)).toBe('step 2')
    expect(plane.x).toEqual([0, 1, 2])
    expect(plane.values).toEqual([[1, null, 0.5], [null, 3, NaN]])
  })

  it('takes the time since the first point when a point has no step', () => {
    const plane = overSteps([
      { step: [null, null], ts: [100, 130], value: [1, 2] },
      { step: [7], ts: [90], value: [3] },
    ])
    expect(plane.axis.place(40)).toBe('40 s in')
    expect(plane.x).toEqual([0, 10, 40])
    expect(plane.values).toEqual([[null, 1, 2], [3, null, null]])
  })

  it('lets the last of several points at one step count', () => {
    expect(overSteps([{ step: [1, 1], ts: [5, 6], value: [0.2, 0.3] }]).values).toEqual([[0.3]])
  })

  it('has no axis problem without curves', () => {
    expect(overSteps([])).toMatchObject({ x: [], values: [] })
  })

  it('reads a curve between its points as its last one', () => {
    expect(lastKnown([null, 4, null], 2)).toBe(4)
    expect(lastKnown([null, 4], 0)).toBe(null)
  })
})

describe("the application's own metrics", () => {
  it('are named in the order in which they came', () => {
    const rounds = [{ metrics: null }, { metrics: { val_auc: 1 } }, { metrics: { f1: null, val_auc: 2 } }] as unknown as Round[]
    expect(customMetrics(rounds)).toEqual(['val_auc', 'f1'])
  })

  it('know who logged a step curve', () => {
    const step = [{ key: 'loss', client_id: null }, { key: 'loss', client_id: 'a' }, { key: 'x,y', client_id: null }]
    expect([...stepKeys({ metrics: { step } } as unknown as RunDetail)]).toEqual([['loss', [null, 'a']]])
  })
})
