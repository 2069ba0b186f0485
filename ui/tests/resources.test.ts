import { describe, expect, it } from 'vitest'
import { TIMES } from '../src/lib/axis'
import { chartsOf, chartsShown, draw, keysOf, newestOnly } from '../src/lib/resources'
import type { Line } from '../src/lib/layers'
import type { Node, Num, Samples } from '../src/lib/types'

const titles = (...keys: string[]): string[] => chartsOf(new Set(keys)).map((chart) => chart.title)

function drawn(samples: Samples): { x: number[]; of: (title: string) => (readonly Num[])[]; format: (title: string) => (value: Num) => string } {
  const keys = new Set(Object.keys(samples))
  const { x, charts } = draw(chartsOf(keys), samples)
  const find = (title: string) => charts.find((chart) => chart.title === title)!
  return { x, of: (title) => find(title).layers.map((layer) => (layer as Line).values), format: (title) => find(title).format }
}

describe('which charts a machine has', () => {
  it('draws only what there is', () => {
    expect(titles('ram_mb', 'elapsed_sec', 'process.cpu.time{cpu.mode=user}')).toEqual(['Memory'])
    expect(titles('cpu_pct', 'cpu_cores', 'ram_mb', 'memory_pct', 'gpu_util_pct', 'power_w', 'power_vdd_in_mw', 'bytes_sent')).toEqual(['CPU', 'Memory', 'GPU load', 'Power', 'Network'])
    expect(titles()).toEqual([])
  })

  it('makes do with what a heflwr monitor sends', () => {
    expect(titles('cpu_cores', 'memory_pct', 'bytes_sent', 'bytes_received', 'power_vdd_in_mw')).toEqual(['CPU cores', 'Memory', 'Power', 'Network'])
  })

  it('asks for the length of the intervals where there is one', () => {
    const keys = new Set(['bytes_sent', 'bytes_received', 'interval_sec', 'elapsed_sec'])
    expect(keysOf(chartsOf(keys), keys)).toEqual(['bytes_sent', 'bytes_received', 'interval_sec'])
  })
})

describe('the curves', () => {
  it('keeps missing missing, and 0 as 0', () => {
    expect(drawn({ ts: [10, 15], cpu_pct: [null, 0] }).of('CPU')).toEqual([[null, 0]])
  })

  it('draws traffic per second', () => {
    const { of, format } = drawn({ ts: [10, 15, 25], bytes_sent: [null, 5000, 20000], interval_sec: [null, 5, 10] })
    expect(of('Network')).toEqual([[null, 1000, 2000]])
    expect(format('Network')(1000)).toBe('1.00 kB/s')
  })

  it('draws traffic as it was told where nobody said over how long', () => {
    expect(drawn({ ts: [10, 15], bytes_sent: [100, 200] }).of('Network per reading')).toEqual([[100, 200]])
  })

  it('brings milliwatts into watts', () => {
    const { of, format } = drawn({ ts: [10], power_vdd_in_mw: [4500] })
    expect(of('Power')).toEqual([[4.5]])
    expect(format('Power')(4.5)).toBe('4.50 W')
  })

  it('draws no line from one window of a monitor to the next', () => {
    const { x, of } = drawn({ ts: [10, 15, 900, 905], ram_mb: [1, 2, 3, 4], interval_sec: [null, 5, null, 5] })
    expect(of('Memory')).toEqual([[1, 2, null, 3, 4]])
    expect(x).toEqual([10, 15, 899.999, 900, 905])
  })

  it('has nothing before the first answer', () => {
    expect(draw(chartsOf(new Set(['cpu_pct'])), null)).toMatchObject({ x: [], charts: [{ title: 'CPU', layers: [{ values: [] }] }] })
  })
})

it('tells times in UTC', () => {
  const noon = Date.UTC(2026, 10, 23, 12, 4, 20) / 1000
  expect(TIMES.place(noon)).toBe('2026-11-23 12:04:20 UTC')
  expect([TIMES.tick(noon), TIMES.tick(noon - 20), TIMES.tick(Date.UTC(2026, 10, 24) / 1000)]).toEqual(['12:04:20', '12:04', '11-24'])
})

it('takes the newest of what was told of a machine and client', () => {
  const node = (journal: string, client_id: string | null): Node => ({ node: 'edge', run_id: 'r', client_id, journal }) as Node
  expect(newestOnly([node('b', 'a'), node('c', null), node('a', 'a')]).map((each) => each.journal)).toEqual(['b', 'c'])
})

it('draws any key that is chosen, and the first ones of a node that has no known chart', () => {
  const shown = (keys: string[], chosen: string[] = []): string[] => chartsOf(new Set(keys), chartsShown(keys, chosen)).map((chart) => chart.title)
  expect(shown(['cpu_pct', 'process.thread.count'])).toEqual(['CPU'])
  expect(shown(['cpu_pct', 'process.thread.count'], ['process.thread.count'])).toEqual(['CPU', 'process.thread.count'])
  expect(shown(['b', 'a', 'g', 'f', 'e', 'd', 'c'])).toEqual(['a', 'b', 'c', 'd', 'e', 'f'])
  expect(shown(['b', 'a'], ['b', 'gone'])).toEqual(['b'])
  expect(shown(['a_bucket{le=1}', 'b_count'])).toEqual(['b_count'])
})
