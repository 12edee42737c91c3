// @ts-check
/** The checks that need no test: each is a command, which fails when something is to be corrected. */
import { installed } from './prepare.mjs'

/** The exit code of a check that this machine cannot do. */
export const SKIPPED = 77

/**
 * @typedef {object} Check
 * @property {string} name
 * @property {readonly [command: string, ...args: string[]]} command
 * @property {NodeJS.ProcessEnv} [env]
 */

const node = process.execPath

/** @type {Check} */
const rustfmt = { name: 'rustfmt', command: ['cargo', 'fmt', '--all', '--check'] }

/** @type {Check} */
const clippy = {
  name: 'clippy',
  command: ['cargo', 'clippy', '--workspace', '--all-targets', '--locked', '--', '-D', 'warnings'],
}

/** @type {Check} */
const rustdoc = {
  name: 'rustdoc',
  command: ['cargo', 'doc', '--workspace', '--no-deps', '--document-private-items', '--locked'],
  env: { RUSTDOCFLAGS: '-D warnings' },
}

/** @type {Check} */
const biome = { name: 'biome', command: [node, installed('@biomejs/biome/bin/biome'), 'ci', '--error-on-warnings'] }

/** @type {Check} */
const tsc = { name: 'tsc', command: [node, installed('typescript/bin/tsc'), '--noEmit'] }

/** @type {Check} */
const typedoc = { name: 'typedoc', command: [node, installed('typedoc/bin/typedoc')] }

/** @type {Check} */
const layers = { name: 'layers', command: [node, 'scripts/layers.mjs'] }

/** @type {Check} */
const sources = { name: 'cargo deny', command: [node, 'scripts/sources.mjs'] }

/** @type {Check} */
const workflows = { name: 'actionlint', command: [node, 'scripts/workflows.mjs'] }

/** What `npm run check` runs. */
export const quick = [clippy, rustfmt, biome, tsc, layers]

/** What looks at the texts of the sources alone. */
export const textual = [rustfmt, biome, layers, workflows, sources]

/** What looks at the types of the facade: the binding's, which come from its build, are among them. */
export const typed = [tsc, typedoc]

/** What compiles crates. */
export const compiled = [clippy, rustdoc]
