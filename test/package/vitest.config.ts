import { defineConfig } from 'vitest/config'

/** The tests of the packages as they are published; the others are for what is built in a clone. */
export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ['*.test.ts'],
    globalSetup: 'setup.ts',
    setupFiles: 'support/turn.ts',
    testTimeout: 180_000,
    hookTimeout: 300_000,
  },
})
