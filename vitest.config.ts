import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  // The package as its users import it.
  resolve: { alias: { coffer: fileURLToPath(new URL('./dist/index.js', import.meta.url)) } },
  test: {
    include: ['test/**/*.test.ts'],
    // These have a configuration of their own: they are about what is packed.
    exclude: ['test/package/**'],
    globalSetup: 'scripts/python-env.mjs',
    // What is built runs as it is, not transformed.
    server: { deps: { external: [/\/dist\//] } },
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
})
