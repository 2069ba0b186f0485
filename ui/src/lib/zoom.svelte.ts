/** What part of the rounds the charts of a page show: one choice for all of them. */

export class Zoom {
  range = $state.raw<readonly [number, number] | null>(null)
}
