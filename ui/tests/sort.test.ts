import { expect, it } from 'vitest'
import { clicked, sorted } from '../src/lib/sort'

interface Row {
  id: string
  loss: number | null
}
const rows: Row[] = [
  { id: 'site-10', loss: 0.5 },
  { id: 'site-2', loss: null },
  { id: 'site-1', loss: NaN },
  { id: 'site-3', loss: 2 },
]
const ids = (key: keyof Row, order: 'asc' | 'desc'): string[] =>
  sorted(rows, { key, order }, (row, name) => row[name as keyof Row], (row) => row.id).map((row) => row.id)

it('puts missing values last and NaN first, in both directions', () => {
  expect(ids('loss', 'desc')).toEqual(['site-1', 'site-3', 'site-10', 'site-2'])
  expect(ids('loss', 'asc')).toEqual(['site-1', 'site-10', 'site-3', 'site-2'])
})

it('sorts numbers within ids as numbers', () => {
  expect(ids('id', 'asc')).toEqual(['site-1', 'site-2', 'site-3', 'site-10'])
})

it('turns the direction at the second click', () => {
  expect(clicked({ key: 'id', order: 'asc' }, 'loss', 'desc')).toEqual({ key: 'loss', order: 'desc' })
  expect(clicked({ key: 'loss', order: 'desc' }, 'loss', 'desc')).toEqual({ key: 'loss', order: 'asc' })
})
