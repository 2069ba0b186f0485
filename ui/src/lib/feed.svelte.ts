/** A series that follows a live run: fetched whole once, then only from the lowest round that changed. */

import { connection } from './connection.svelte'
import { patiently } from './loading'
import { replaceTail } from './series'
import type { Series } from './types'

export class SeriesFeed {
  data = $state.raw<Series>({ round: [] })
  loaded = $state(false)
  #dirtyFrom: number | null = -Infinity
  #busy = false
  #stopped = false
  #timer: ReturnType<typeof setTimeout> | undefined

  /** `fetch` is given the first round wanted, null for all; it is called at most every `everyMs`, and only while the page is visible. */
  constructor(
    private readonly fetch: (from: number | null) => Promise<Series>,
    private readonly everyMs = 1000,
  ) {
    document.addEventListener('visibilitychange', this.#wake)
    void this.#refresh()
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
    document.removeEventListener('visibilitychange', this.#wake)
  }

  /** Rounds from `round` on have changed. */
  changed(round: number): void {
    this.#dirtyFrom = Math.min(this.#dirtyFrom ?? Infinity, round)
    this.#wake()
  }

  readonly #wake = (): void => {
    if (this.#dirtyFrom === null || this.#busy || this.#stopped || document.hidden) return
    this.#timer ??= setTimeout(() => void this.#refresh(), this.everyMs)
  }

  async #refresh(): Promise<void> {
    this.#timer = undefined
    if (this.#dirtyFrom === null || this.#busy || this.#stopped) return
    const from = this.#dirtyFrom
    this.#dirtyFrom = null
    this.#busy = true
    try {
      const whole = from === -Infinity || this.data.round.length === 0
      const news = await patiently(() => this.fetch(whole ? null : from), () => !this.#stopped)
      if (news !== null) {
        this.data = whole ? news : replaceTail(this.data, news, from)
        this.loaded = true
      }
    } catch (error) {
      connection.note(error) // a metric that vanished with its run: the page's own load tells
      this.loaded = true
    } finally {
      this.#busy = false
      this.#wake()
    }
  }
}
