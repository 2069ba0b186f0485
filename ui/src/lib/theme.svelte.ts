/** Light or dark: the system's choice until the reader makes one. */

export type Theme = 'light' | 'dark'

const KEY = 'fedsight.theme'
const system = matchMedia('(prefers-color-scheme: dark)')

function stored(): Theme | null {
  const theme = document.documentElement.dataset['theme']
  return theme === 'light' || theme === 'dark' ? theme : null
}

let chosen = $state<Theme | null>(stored())
let dark = $state(system.matches)
system.addEventListener('change', (event) => (dark = event.matches))

/** The theme on screen. Charts read it to redraw in its colours. */
export function theme(): Theme {
  return chosen ?? (dark ? 'dark' : 'light')
}

export function toggleTheme(): void {
  chosen = theme() === 'dark' ? 'light' : 'dark'
  document.documentElement.dataset['theme'] = chosen
  try {
    localStorage.setItem(KEY, chosen)
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }
}
