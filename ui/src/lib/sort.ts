/** Sorting of tables in the browser: missing values are always last, NaN counts as the worst. */

export type Order = 'asc' | 'desc'

export interface Sort {
  key: string
  order: Order
}

type Cell = number | string | null | undefined

export function compareCells(a: Cell, b: Cell, order: Order): number {
  const missingA = a === null || a === undefined
  const missingB = b === null || b === undefined
  if (missingA || missingB) return missingA && missingB ? 0 : missingA ? 1 : -1
  if (typeof a === 'number' && typeof b === 'number') {
    // NaN has no place on the axis; whoever sorts is looking for it: first, either way.
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) && Number.isNaN(b) ? 0 : Number.isNaN(a) ? -1 : 1
    return order === 'asc' ? a - b : b - a
  }
  const text = collator.compare(String(a), String(b))
  return order === 'asc' ? text : -text
}

/** client-2 before client-10. */
const collator = new Intl.Collator('en', { numeric: true, sensitivity: 'base' })

export function sorted<T>(rows: readonly T[], sort: Sort, cell: (row: T, key: string) => Cell, tie: (row: T) => string): T[] {
  return rows
    .map((row) => ({ row, value: cell(row, sort.key) }))
    .sort((a, b) => compareCells(a.value, b.value, sort.order) || collator.compare(tie(a.row), tie(b.row)))
    .map(({ row }) => row)
}

/** What a click on the header `key` makes of `sort`: `first` is the column's useful direction, another click turns it. */
export function clicked(sort: Sort, key: string, first: Order): Sort {
  if (sort.key !== key) return { key, order: first }
  return { key, order: sort.order === 'asc' ? 'desc' : 'asc' }
}
