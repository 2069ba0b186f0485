import { describe as suite, expect, it } from 'vitest'
import { describe, groupOf, isOfMissingProbe, linesOf } from '../src/lib/events'
import type { FedEvent } from '../src/lib/types'

const event = (fields: Partial<FedEvent>): FedEvent =>
  ({ ts: 1, kind: 'text', event: null, client_id: null, round: null, message: null, data: null, journal: 'j', offset: 0, ...fields }) as FedEvent

suite('events in words', () => {
  it('tells the end of a run from the end of a site', () => {
    const end = { kind: 'run_end', data: { status: 'finished' } }
    expect(describe(event(end)).what).toBe('Run finished')
    expect(groupOf(event(end))).toBe('Run')
    expect(describe(event({ ...end, client_id: 'lagos' })).what).toBe('Site finished')
    expect(groupOf(event({ ...end, client_id: 'lagos' }))).toBe('Sites')
  })

  it('names a site that joins for the first time and one that is back', () => {
    expect(describe(event({ kind: 'run_start', client_id: 'lagos', data: {} })).what).toBe('Site joined')
    expect(describe(event({ kind: 'run_start', client_id: 'lagos', data: { resumed: true } })).what).toBe('Site is back')
  })

  it('shows what a client trains with', () => {
    const info = event({ kind: 'client_info', client_id: 'lagos', data: { params: { lr: 0.5 }, tags: { ward: 'north' } } })
    expect(describe(info)).toEqual({ what: 'Client', detail: 'lr 0.5, ward north', tone: 'grey' })
    expect(groupOf(info)).toBe('Sites')
  })

  it('puts what sites do one after the other into one line', () => {
    const end = { kind: 'run_end', data: { status: 'finished' } }
    const lines = linesOf([event(end), ...['lagos', 'cairo'].map((client_id) => event({ ...end, client_id })), event({ message: 'hello' }), event({ ...end, client_id: 'oslo' })])
    expect(lines.map((line) => [line.what, line.detail])).toEqual([
      ['Run finished', ''],
      ['2 sites finished', 'lagos, cairo'],
      ['Note', 'hello'],
      ['Site finished', ''],
    ])
  })

  it('says why a client failed', () => {
    const failure = describe(event({ kind: 'client_event', event: 'comm_failure', message: 'timed out' }))
    expect([failure.what, failure.detail]).toEqual(['Communication failure', 'timed out'])
  })
})

it('passes over what a monitor can not measure here, and nothing else that it says', () => {
  const said = (name: string, component: string) => isOfMissingProbe({ component, event: name })
  expect(said('unavailable', 'monitor')).toBe(true)
  expect(said('probe_failed', 'monitor')).toBe(false)
  expect(said('unavailable', 'source onos')).toBe(false)
  expect(said('down', 'fl')).toBe(false)
})
