/** What a chart's x axis counts. */

import { duration, integer, utc } from './format'

export interface Axis {
  /** One place in words, for the readout: "round 12". */
  place: (at: number) => string
  /** The label of a tick. */
  tick: (at: number) => string
  /** Distances that ticks may have. */
  ticks: number[]
  /** Pixels a label needs. */
  space: number
}

export const WHOLE = [0, 1, 2, 3, 4, 5, 6, 7, 8].flatMap((power) => [1, 2, 5].map((step) => step * 10 ** power))
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, ...WHOLE.slice(0, 15).map((days) => days * 86400)]

export const ROUNDS: Axis = { place: (at) => `round ${integer(at)}`, tick: (at) => integer(at), ticks: WHOLE, space: 56 }
export const STEPS: Axis = { place: (at) => `step ${integer(at)}`, tick: (at) => integer(at), ticks: WHOLE, space: 56 }
/** Seconds since the first value: for points that were logged without a step. */
export const ELAPSED: Axis = { place: (at) => `${duration(at)} in`, tick: (at) => duration(at), ticks: SECONDS, space: 90 }
/** Epoch seconds, in UTC. A tick at midnight tells the date. */
export const TIMES: Axis = { place: utc, tick: timeTick, ticks: SECONDS, space: 72 }

function timeTick(at: number): string {
  const text = utc(at)
  if (at % 86400 === 0) return text.slice(5, 10)
  return text.slice(11, at % 60 === 0 ? 16 : 19)
}
