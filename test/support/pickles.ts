import { readFileSync } from 'node:fs'

/** Passwords as PyCoffer pickled them. */
export const legacyPickle = readFileSync(new URL('../fixtures/passwd-4.pickle', import.meta.url))
