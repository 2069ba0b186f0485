/** One ticking clock for the whole page, on the collector's time. */

let skew = 0
let now = $state(Date.now() / 1000)

setInterval(() => {
  if (!document.hidden) now = Date.now() / 1000 + skew
}, 1000)

/** The time now, UTC epoch seconds; ticks once a second. */
export function clock(): number {
  return now
}

/** A viewer's clock may be minutes off; ages would be nonsense. The HTTP Date header tells, to the second. */
export function noteServerTime(date: string | null): void {
  const server = date === null ? NaN : Date.parse(date) / 1000
  if (Number.isNaN(server)) return
  const off = server - Date.now() / 1000
  skew = Math.abs(off) > 2.5 ? off : 0
  now = Date.now() / 1000 + skew
}
