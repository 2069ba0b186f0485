/** An answer that is asked for again and again, for as long as somebody looks at it. */

import { Latest } from './latest.svelte'

export class Polled<T> {
  #latest: Latest<T>
  #timer: ReturnType<typeof setInterval>

  constructor(fetch: () => Promise<T>, everyMs: number) {
    this.#latest = new Latest(fetch, 0)
    this.#timer = setInterval(() => this.#latest.changed(), everyMs)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#latest.stop()
  }

  /** The newest answer; null until there is one. */
  get value(): T | null {
    return this.#latest.value
  }

  /** There is an answer, or a reason why there is none. */
  get loaded(): boolean {
    return this.#latest.loaded
  }
}
