import { describe, expect, it } from 'vitest'
import { oldest, parseAsOf } from '../src/lib/asof'
import { replaceTail } from '../src/lib/series'
import { byClientId, byNewest, byRound, extendSparkline, mergeSorted } from '../src/lib/merge'

const rounds = (...numbers: number[]): { round: number; note?: string }[] => numbers.map((round) => ({ round }))

describe('mergeSorted', () => {
  it('appends what is new and replaces what is known', () => {
    const merged = mergeSorted(rounds(1, 2, 4), [{ round: 2, note: 'again' }, { round: 5 }, { round: 3 }], byRound)
    expect(merged.map((row) => row.round)).toEqual([1, 2, 3, 4, 5])
    expect(merged[1]!.note).toBe('again')
  })

  it('leaves what it was given as it was', () => {
    const before = rounds(1)
    mergeSorted(before, rounds(2), byRound)
    expect(before).toEqual(rounds(1))
    expect(mergeSorted(before, [], byRound)).toBe(before)
  })

  it('tells clients apart whose ids differ only in case', () => {
    const merged = mergeSorted([{ client_id: 'A' }], [{ client_id: 'a' }], byClientId)
    expect(merged).toHaveLength(2)
  })

  it('keeps events newest first, one for each journal and offset', () => {
    const event = (ts: number, offset: number) => ({ ts, journal: 'j', offset })
    const merged = mergeSorted([event(5, 10)], [event(7, 20), event(5, 15), event(5, 10)], byNewest)
    expect(merged.map((row) => row.offset)).toEqual([20, 15, 10])
  })
})

describe('extendSparkline', () => {
  it('puts the new value on the end, and gaps where rounds were missed', () => {
    const now = { last_round: 4, local_accuracy: 0.4 }
    expect(extendSparkline({ last_round: 3, sparkline: [0.3] }, now)).toEqual([0.3, 0.4])
    expect(extendSparkline({ last_round: 1, sparkline: [0.1] }, now)).toEqual([0.1, null, null, 0.4])
    expect(extendSparkline(undefined, now)).toEqual([0.4])
  })

  it('replaces the last value when the round is told again', () => {
    expect(extendSparkline({ last_round: 4, sparkline: [0.1, 0.2] }, { last_round: 4, local_accuracy: 0.3 })).toEqual([0.1, 0.3])
  })

  it('stays short', () => {
    const long = Array.from({ length: 30 }, (_, i) => i)
    expect(extendSparkline({ last_round: 1, sparkline: long }, { last_round: 1_000_000, local_accuracy: 1 })).toHaveLength(30)
  })
})

describe('as_of', () => {
  it('is an epoch and a commit', () => {
    expect(parseAsOf('k3-x9-812')).toEqual({ epoch: 'k3-x9', commit: 812 })
    expect(parseAsOf('nonsense')).toBeNull()
    expect(parseAsOf('k-')).toBeNull()
  })

  it('resumes from the oldest answer, and not at all when the store was exchanged', () => {
    expect(oldest(['k-12', 'k-9', 'k-10'])).toBe('k-9')
    expect(oldest(['k-12', 'm-9'])).toBeNull()
  })
})

describe('replaceTail', () => {
  it('puts the refetched rounds in place of the old ones', () => {
    const merged = replaceTail({ round: [1, 2, 3], p50: [0.1, 0.2, 0.3] }, { round: [3, 4], p50: [0.33, 0.4] }, 3)
    expect(merged).toEqual({ round: [1, 2, 3, 4], p50: [0.1, 0.2, 0.33, 0.4] })
  })

  it('fills a column that one side has not', () => {
    const merged = replaceTail({ round: [1] }, { round: [2], loss: [0.5] }, 2)
    expect(merged).toEqual({ round: [1, 2], loss: [null, 0.5] })
  })
})
