import { expect, it } from 'vitest'
import { figure, figuresOf, total } from '../src/lib/exposition'

const PAGE = `# HELP up Whether it is.
# TYPE up gauge
up{source="a",kind="onos"} 1
up{source="say \\"b\\"\\nand {c}, d",kind="x"} 0.0 1700000000000
plain 1.5e3
nan NaN
inf +Inf
not a line at all
`

it('reads what Prometheus reads', () => {
  const figures = figuresOf(PAGE)
  expect(figures).toHaveLength(5)
  expect(figures[1]).toEqual({ name: 'up', labels: { source: 'say "b"\nand {c}, d', kind: 'x' }, value: 0 })
  expect(figure(figures, 'up', { source: 'a' })).toBe(1)
  expect(figure(figures, 'plain')).toBe(1500)
  expect(figure(figures, 'nan')).toBeNaN()
  expect(figure(figures, 'inf')).toBe(Infinity)
})

it('knows no figure that is not there', () => {
  const figures = figuresOf(PAGE)
  expect(figure(figures, 'up', { source: 'z' })).toBeNull()
  expect(total(figures, 'down')).toBeNull()
  expect(total(figures, 'up')).toBe(1)
})
