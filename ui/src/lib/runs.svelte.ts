/** The list of runs, kept up to date. */

import { api } from './api'
import { decodeRows } from './decode'
import { patiently, phaseOf, type Phase } from './loading'
import { byRunId, mergeSorted } from './merge'
import { LiveStream, type RowsMessage } from './stream'
import type { Run } from './types'

export class RunList {
  phase = $state<Phase>('loading')
  message = $state('')
  /** Ascending by run_id; the page sorts as its reader likes. */
  runs = $state.raw<Run[]>([])
  #stream: LiveStream | null = null
  #stopped = false

  constructor() {
    void this.#load()
  }

  stop(): void {
    this.#stopped = true
    this.#stream?.stop()
  }

  async #load(): Promise<void> {
    try {
      const answer = await patiently(api.runs, () => !this.#stopped)
      if (answer === null) return
      this.runs = answer.rows.sort(byRunId)
      this.phase = 'ready'
      this.#stream = new LiveStream(null, answer.asOf, (message) => this.#merge(message), () => void this.#load())
    } catch (error) {
      ;({ phase: this.phase, message: this.message } = phaseOf(error))
    }
  }

  #merge(message: RowsMessage): void {
    if (message.runs) this.runs = mergeSorted(this.runs, decodeRows<Run>(message.runs), byRunId)
  }
}
