/** Whether the collector answers, and whether it wants a log-in: what the banner and the log-in form show. */

import { ApiError } from './api'

let away = $state(false)
let loginWanted = $state(false)
let session = $state(0)

export const connection = {
  /** Nobody answers; the pages keep what they have and go on trying. */
  get away(): boolean {
    return away
  },
  get loginWanted(): boolean {
    return loginWanted
  },
  /** Counts log-ins: pages load again when it changes. */
  get session(): number {
    return session
  },
  lost(): void {
    away = true
  },
  found(): void {
    away = false
  },
  loggedIn(): void {
    loginWanted = false
    session += 1
  },
  /** Takes note of what a failed call says of the connection; true when trying again later makes sense. */
  note(error: unknown): boolean {
    if (!(error instanceof ApiError)) throw error
    if (error.kind === 'unauthorized') {
      away = false
      loginWanted = true
    }
    if (error.kind === 'away') away = true
    return error.kind === 'away'
  },
}

/** Seconds to wait before try number `attempt` (from 0): 0.5, 1, 2, … 8. */
export function backoff(attempt: number): number {
  return Math.min(8, 0.5 * 2 ** attempt)
}
