/** An answer that is asked for again while the run goes on: never faster than its pace, never for a hidden page. */

import { connection } from './connection.svelte'
import { patiently } from './loading'

export class Latest<T> {
  value = $state.raw<T | null>(null)
  loaded = $state(false)
  #dirty = true
  #busy = false
  #stopped = false
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(
    private readonly fetch: () => Promise<T>,
    private readonly everyMs: number,
  ) {
    document.addEventListener('visibilitychange', this.#wake)
    void this.#refresh()
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
    document.removeEventListener('visibilitychange', this.#wake)
  }

  /** There may be news. */
  changed(): void {
    this.#dirty = true
    this.#wake()
  }

  readonly #wake = (): void => {
    if (!this.#dirty || this.#busy || this.#stopped || document.hidden) return
    this.#timer ??= setTimeout(() => void this.#refresh(), this.everyMs)
  }

  async #refresh(): Promise<void> {
    this.#timer = undefined
    if (!this.#dirty || this.#busy || this.#stopped) return
    this.#dirty = false
    this.#busy = true
    try {
      const answer = await patiently(this.fetch, () => !this.#stopped)
      if (answer !== null) this.value = answer
    } catch (error) {
      connection.note(error)
    } finally {
      this.loaded = true
      this.#busy = false
      this.#wake()
    }
  }
}
