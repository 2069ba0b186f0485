import { describe as suite, expect, it } from 'vitest'
import { emittersOf } from '../src/lib/emitters'
import type { FedEvent } from '../src/lib/types'

const log = (component: string, event: string, offset: number, extra: Record<string, unknown> = {}, fields: Partial<FedEvent> = {}): FedEvent =>
  ({ ts: offset, kind: 'log', event, client_id: null, round: null, message: 'said', data: { component, event, extra }, journal: 'j', offset, ...fields }) as FedEvent

suite('the emitters of a run', () => {
  it('has the newest word of each, in whatever order the events come and however often', () => {
    const failing = log('emitter mlflow', 'failing', 10, { pending_bytes: 9, last_error: 'no route' })
    const working = log('emitter mlflow', 'working', 20, { pending_bytes: 0, delivered_bytes: 29, num_failed: 1 })
    for (const events of [[failing, working], [working, failing], [working, failing, working]]) {
      expect(emittersOf(events)).toMatchObject([{ name: 'mlflow', state: 'working', pendingBytes: 0, deliveredBytes: 29, numFailed: 1, lastError: null, ts: 20 }])
    }
  })

  it('puts those in trouble first', () => {
    const events = [log('emitter a', 'delivered', 1), log('emitter b', 'pending', 2), log('emitter c', 'failing', 3)]
    expect(emittersOf(events).map((row) => row.name)).toEqual(['c', 'b', 'a'])
  })

  it('keeps destinations and recorders of the same name apart', () => {
    const events = [log('emitter mlflow', 'working', 1, { destination: 'one' }), log('emitter mlflow', 'working', 2, { destination: 'two' }), log('emitter mlflow', 'working', 1, { destination: 'one' }, { journal: 'k' })]
    expect(emittersOf(events)).toHaveLength(3)
  })

  it('leaves other logs alone, and knows nothing where nothing was said', () => {
    const bare = { ...log('emitter x', 'surprise', 1), data: { component: 'emitter x' } } as FedEvent
    expect(emittersOf([log('journal', 'recovered', 1), { ...bare, kind: 'text' }])).toEqual([])
    expect(emittersOf([bare])).toMatchObject([{ name: 'x', destination: '', state: null, pendingBytes: null, numFailed: null, lastError: null }])
  })
})
