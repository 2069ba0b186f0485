/** `as_of` tokens, `<epoch>-<commit>`: which store, and how far it had come. */

export interface AsOf {
  epoch: string
  commit: number
}

export function parseAsOf(token: string): AsOf | null {
  const cut = token.lastIndexOf('-')
  const commit = Number(token.slice(cut + 1))
  if (cut < 1 || token.length === cut + 1 || !Number.isInteger(commit)) return null
  return { epoch: token.slice(0, cut), commit }
}

/**
 * The token to open the stream with after several fetches: the oldest, so that nothing is missed.
 * Null when they come from different stores (it was rebuilt in between): fetch again.
 */
export function oldest(tokens: readonly string[]): string | null {
  let least: AsOf | null = null
  let token: string | null = null
  for (const each of tokens) {
    const parsed = parseAsOf(each)
    if (parsed === null || (least !== null && parsed.epoch !== least.epoch)) return null
    if (least === null || parsed.commit < least.commit) {
      least = parsed
      token = each
    }
  }
  return token
}
