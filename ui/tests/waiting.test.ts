import { describe as suite, expect, it } from 'vitest'
import type { FedEvent } from '../src/lib/types'
import { waitingOf } from '../src/lib/waiting'

const said = (event: string, offset: number, fields: Partial<FedEvent> = {}): FedEvent =>
  ({ ts: 100 + offset, kind: 'log', event, client_id: null, round: null, message: `${event} ${offset}`, data: { extra: { waiting_sec: 30 } }, journal: 'j', offset, ...fields }) as FedEvent

suite('a run that waits', () => {
  it('waits since the time that its last word tells', () => {
    expect(waitingOf([said('waiting', 20), said('waiting', 10)])).toEqual({ message: 'waiting 20', since: 90 })
  })

  it('does not wait any more once it goes on, in whatever order the events come', () => {
    const events = [said('waiting', 10), said('going_on', 20)]
    expect(waitingOf(events)).toBeNull()
    expect(waitingOf(events.reverse())).toBeNull()
    expect(waitingOf([...events, said('waiting', 30)])?.message).toBe('waiting 30')
  })

  it('does not wait because a process before it did', () => {
    expect(waitingOf([said('waiting', 10), said('', 20, { kind: 'run_start', event: null })])).toBeNull()
  })

  it('is not known to wait where nobody said so, and has the time of the word where none was told', () => {
    expect(waitingOf([])).toBeNull()
    expect(waitingOf([said('failing', 10), said('waiting', 20, { kind: 'text' })])).toBeNull()
    expect(waitingOf([said('waiting', 10, { data: {} })])).toEqual({ message: 'waiting 10', since: 110 })
  })
})
