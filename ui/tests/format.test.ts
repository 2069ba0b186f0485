import { describe, expect, it } from 'vitest'
import { ago, byteRate, bytes, count, duration, formatterOf, integer, joules, megabytes, number, percent, ratio, score, seconds, short, span, title, utc, watts } from '../src/lib/format'

describe('what is not a number', () => {
  it('shows a missing value as a dash, never as 0', () => {
    for (const format of [number, score, integer, ratio, percent, bytes, megabytes, seconds, duration]) {
      expect(format(null)).toBe('–')
      expect(format(undefined)).toBe('–')
      expect(format(0)).toMatch(/^0/)
    }
  })

  it('shows NaN and infinities as themselves', () => {
    for (const format of [number, score, integer, ratio, percent, bytes, seconds, duration]) {
      expect(format(NaN)).toBe('NaN')
      expect(format(Infinity)).toBe('∞')
      expect(format(-Infinity)).toBe('−∞')
    }
  })
})

describe('numbers', () => {
  it('keeps about four digits', () => {
    expect(number(0.123456)).toBe('0.1235')
    expect(number(12.3456)).toBe('12.35')
    expect(number(123456)).toBe('123,456')
    expect(number(-3.2)).toBe('−3.200')
    expect(number(0.0000123)).toBe('1.23e−5')
    expect(number(3.1e9)).toBe('3.10e9')
  })

  it('lines scores up', () => {
    expect(score(0.9)).toBe('0.9000')
    expect(score(1e12)).toBe('1.00e12')
  })

  it('gives ratios and percentages one decimal', () => {
    expect(ratio(0.9)).toBe('90.0 %')
    expect(ratio(1)).toBe('100 %')
    expect(percent(12.345)).toBe('12.3 %')
  })
})

describe('units', () => {
  it('scales bytes by thousands', () => {
    expect(bytes(0)).toBe('0 B')
    expect(bytes(999)).toBe('999 B')
    expect(bytes(1500)).toBe('1.50 kB')
    expect(bytes(44_700_000)).toBe('44.7 MB')
    expect(bytes(999_999)).toBe('1.00 MB')
    expect(megabytes(2048)).toBe('2.05 GB')
  })

  it('scales seconds down to microseconds and up to days', () => {
    expect(seconds(0.0000021)).toBe('2 µs')
    expect(seconds(0.25)).toBe('250 ms')
    expect(seconds(3.14159)).toBe('3.14 s')
    expect(seconds(59.99)).toBe('1 min 00 s')
    expect(seconds(125)).toBe('2 min 05 s')
    expect(duration(3 * 3600 + 4 * 60)).toBe('3 h 04 min')
    expect(duration(2 * 86400 + 3 * 3600)).toBe('2 d 3 h')
  })

  it('chooses the unit by the name of the metric', () => {
    expect(formatterOf('bytes_sent')(1000)).toBe('1.00 kB')
    expect(formatterOf('total_bytes_up')(1000)).toBe('1.00 kB')
    expect(formatterOf('ram_mb')(1000)).toBe('1.00 GB')
    expect(formatterOf('train_time_sec')(2)).toBe('2.00 s')
    expect(formatterOf('network_latency_ms')(12.3)).toBe('12 ms')
    expect(formatterOf('cpu_pct')(50)).toBe('50.0 %')
    expect(formatterOf('staleness')(2)).toBe('2')
  })

  it('takes zeros off an axis that tell nothing', () => {
    expect(short('0.8000')).toBe('0.8')
    expect(short('1.0000')).toBe('1')
    expect(short('15.0 s')).toBe('15 s')
    expect(short('75.50 MB')).toBe('75.5 MB')
    expect(short('100')).toBe('100')
    expect(short('1,000')).toBe('1,000')
  })
})

it('writes a range with its unit once', () => {
  expect(span('4.41 MB', '4.48 MB')).toBe('4.41 … 4.48 MB')
  expect(span('913 MB', '2.69 GB')).toBe('913 MB … 2.69 GB')
  expect(span('0.1', '0.2')).toBe('0.1 … 0.2')
  expect(span('1 s', '1 s')).toBe('1 s')
})

describe('times', () => {
  it('says how long ago something was', () => {
    expect(ago(100, 100.4)).toBe('just now')
    expect(ago(100, 103.9)).toBe('3 s ago')
    expect(ago(0, 7200)).toBe('2 h ago')
    expect(ago(110, 100)).toBe('in 10 s')
    expect(ago(null, 100)).toBe('–')
  })

  it('writes UTC, and a dash for a time that is none', () => {
    expect(utc(0)).toBe('1970-01-01 00:00:00 UTC')
    expect(utc(1e300)).toBe('–')
    expect(utc(NaN)).toBe('–')
  })
})

it('makes titles of the names of metrics', () => {
  expect(title('local_accuracy')).toBe('Local accuracy')
  expect(title('cpu_pct')).toBe('CPU')
  expect(title('proximal_term')).toBe('Proximal term')
})

describe('counts with their noun', () => {
  it.each([
    [0, '0 runs'],
    [1, '1 run'],
    [2000, '2,000 runs'],
    [null, '– runs'],
  ])('%s → %s', (value, text) => {
    expect(count(value, 'run')).toBe(text)
  })
})

it('writes power, energy and rates in the fitting unit', () => {
  expect([watts(0), watts(0.05), watts(12.5), watts(1800)]).toEqual(['0 W', '50 mW', '12.5 W', '1.80 kW'])
  expect([joules(3.6e6), byteRate(0), byteRate(2.5e6)]).toEqual(['3.60 MJ', '0 B/s', '2.50 MB/s'])
  expect([watts(null), joules(null), byteRate(null)]).toEqual(['–', '–', '–'])
})
