import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vitest/config'
import { compress } from './compress.ts'

// `npm run dev` serves the sources and passes the API on to a collector: FEDSIGHT_URL, or `fedsight view`'s port.
const collector = process.env['FEDSIGHT_URL'] ?? 'http://127.0.0.1:7070'

export default defineConfig({
  plugins: [svelte(), compress()],
  build: {
    outDir: '../src/fedsight/web/dist',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0, // a data: URL would need a wider content security policy
    modulePreload: { polyfill: false },
  },
  server: { proxy: { '/api': collector } },
  test: { include: ['tests/**/*.test.ts'], environment: 'node' },
})
