import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

/** The tests of the packages as they are published; the others are for what is built in a clone. */
export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ['*.test.ts'],
    globalSetup: 'setup.ts',
    maxWorkers: availableParallelism(),
    minWorkers: 1,
    testTimeout: 180_000,
    hookTimeout: 300_000,
  },
})
