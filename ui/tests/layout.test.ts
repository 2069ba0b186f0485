import { expect, it } from 'vitest'
import { fan, fit, layout, type Point } from '../src/lib/layout'

const ids = (n: number): string[] => Array.from({ length: n }, (_, i) => `s${i}`)
const ring = (n: number): [string, string][] => ids(n).map((id, i) => [id, `s${(i + 1) % n}`])
const far = (a: Point, b: Point): number => Math.hypot(a.x - b.x, a.y - b.y)

it('draws the same network in the same way, in whichever order it is told', () => {
  const [a, b] = [layout(ids(12), ring(12)), layout(ids(12).reverse(), ring(12))]
  for (const id of ids(12)) expect(far(a.get(id)!, b.get(id)!)).toBeLessThan(1e-6)
})

it('puts what is linked closer together than what is not', () => {
  const chain = ids(6).slice(1).map((id, i): [string, string] => [`s${i}`, id])
  const places = layout(ids(6), chain)
  const linked = chain.map(([a, b]) => far(places.get(a)!, places.get(b)!))
  expect(Math.max(...linked)).toBeLessThan(far(places.get('s0')!, places.get('s5')!))
})

it('keeps every device apart from the others, linked or not, and knows no infinity', () => {
  const places = [...layout(ids(60), ring(20)).values()]
  for (const [i, place] of places.entries()) {
    expect(Number.isFinite(place.x) && Number.isFinite(place.y)).toBe(true)
    for (const other of places.slice(0, i)) expect(far(place, other)).toBeGreaterThan(0.05)
  }
})

it('passes over links to devices that are not there, and to themselves', () => {
  expect([...layout(['a', 'b'], [['a', 'ghost'], ['a', 'a']]).keys()]).toEqual(['a', 'b'])
  expect(layout([], []).size).toBe(0)
})

it('fits the drawing into its frame, and puts a lone device in the middle', () => {
  for (const { x, y } of fit(layout(ids(40), ring(40)), 800, 400, 60, 30).values()) {
    expect(x).toBeGreaterThanOrEqual(60 - 1e-6)
    expect(x).toBeLessThanOrEqual(740 + 1e-6)
    expect(y).toBeGreaterThanOrEqual(30 - 1e-6)
    expect(y).toBeLessThanOrEqual(370 + 1e-6)
  }
  expect(fit(layout(['a'], []), 800, 400, 60, 30).get('a')).toEqual({ x: 400, y: 200 })
})

it('opens the fan of hosts away from the neighbours', () => {
  const at = { x: 100, y: 100 }
  const hosts = fan(5, at, [{ x: 200, y: 100 }], 30)
  expect(hosts).toHaveLength(5)
  for (const host of hosts) {
    expect(far(host, at)).toBeCloseTo(30)
    expect(host.x).toBeLessThan(at.x + 11)
  }
})
