// Runs before the first paint: a stored theme must not flash in the other one's colours.
try {
  const theme = localStorage.getItem('fedsight.theme')
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
} catch {
  // Storage may be forbidden; the system's preference then decides.
}
