import { expect, it } from 'vitest'
import { decodeRows, decodeSeries, decodeTable } from '../src/lib/decode'
import type { Client, Node } from '../src/lib/types'

it('turns spelled-out floats back into numbers, and leaves text alone', () => {
  const [row] = decodeRows<Client>({ columns: { client_id: ['NaN'], local_loss: ['NaN'], gradient_norm: ['-Infinity'], city: ['Infinity'] } })
  expect(row).toEqual({ client_id: 'NaN', local_loss: NaN, gradient_norm: -Infinity, city: 'Infinity' })
})

it('keeps missing missing', () => {
  const rows = decodeRows<Client>({ columns: { client_id: ['a', 'b'], local_accuracy: [null, 0] } })
  expect(rows.map((row) => row.local_accuracy)).toEqual([null, 0])
})

it('decodes numbers within maps and sparklines', () => {
  const [row] = decodeRows<Client>({ columns: { client_id: ['a'], metrics: [{ mu: 'NaN', k: 3 }], sparkline: [[0.5, null, 'Infinity']] } })
  expect(row!.metrics).toEqual({ mu: NaN, k: 3 })
  expect(row!.sparkline).toEqual([0.5, null, Infinity])
})

it('leaves the names of machines and of what was measured alone', () => {
  const [row] = decodeRows<Node>({ columns: { node: ['NaN'], measured: [['cpu_pct']], cpu_pct: ['NaN'] } })
  expect(row).toEqual({ node: 'NaN', measured: ['cpu_pct'], cpu_pct: NaN })
})

it('takes an empty table', () => {
  expect(decodeTable({ as_of: 'k-1', columns: {} })).toEqual({ asOf: 'k-1', next: null, rows: [] })
  expect(decodeSeries({ columns: { round: [], p50: [] } })).toEqual({ round: [], p50: [] })
})
