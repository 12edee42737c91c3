// @ts-check
/**
 * The stairs of this repository: each layer imports from those below it, no file is in a circle of imports, and what
 * touches the system stays in the layers that may. Prints each violation with its file, and fails if there is one.
 *
 * Tests are not part of the stair: they may import anything.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { root } from './prepare.mjs'

/**
 * @typedef {object} Stair
 * @property {string} folder The folder that it is about.
 * @property {readonly (readonly string[])[]} layers Files and folders, the lowest layer first. Those of one layer import
 *   each other as long as there is no circle.
 * @property {readonly Rule[]} [rules]
 *
 * @typedef {object} Rule
 * @property {RegExp} pattern What a file must not say.
 * @property {(file: string) => boolean} where The files that must not say it, relative to the folder.
 * @property {string} why
 *
 * @typedef {Map<string, Map<string, string>>} Graph For each file the files it imports, and how the import is written.
 */

/** @type {readonly Stair[]} */
const rust = [
  {
    folder: 'crates/coffer-core/src',
    layers: [['error.rs', 'buffer.rs', 'progress.rs'], ['crypto'], ['io'], ['format'], ['engine'], ['ops'], ['coffer']],
    rules: [
      {
        pattern: /\b(?:crate::io|std::(?:fs|thread|time|net|process|env)|crossbeam_channel|rayon|cap_std|rustix)\b/,
        where: (file) => file.startsWith('format/'),
        why: 'format is pure: no file, no thread, no clock',
      },
      {
        pattern:
          /\b(?:std::fs|cap_std|rustix)\b|\.(?:symlink_metadata|canonicalize|read_link|try_exists|is_symlink|read_dir)\(/,
        where: (file) => !file.startsWith('io/'),
        why: 'only io asks the file system',
      },
    ],
  },
  { folder: 'crates/coffer-node/src', layers: [] },
]

/** @type {readonly Stair[]} */
const typescript = [
  {
    folder: 'ts',
    layers: [
      ['errors.ts'],
      ['check.ts'],
      ['binding'],
      ['progress.ts'],
      ['keys'],
      ['member'],
      ['cbor'],
      ['coffer'],
      ['crypt', 'tar', 'rsync'],
      ['plugins'],
      ['index.ts', 'entry'],
      ['cli/exit.ts', 'cli/entry.ts', 'cli/programs.ts', 'cli/version.ts'],
      ['cli/terminal', 'cli/help'],
      ['cli/names.ts', 'cli/patterns.ts'],
      ['cli/config'],
      ['cli/session.ts'],
      ['cli/commands'],
      ['cli/program.ts'],
      ['cli/main.ts'],
    ],
  },
  {
    folder: 'bench',
    layers: [
      ['statistics.ts', 'usage.ts', 'coffers.ts', 'children'],
      ['case.ts'],
      ['peers'],
      ['corpus', 'machine.ts'],
      ['cases', 'soak'],
      ['report'],
      ['main.ts', 'soak.ts'],
    ],
  },
  { folder: 'scripts', layers: [] },
]

/** `import … from`, `export … from`, `import '…'` and `import('…')`, with relative paths. */
const IMPORT = /(?:\bfrom\s*|\bimport\s*\(?\s*)(['"])(\.{1,2}\/[^'"]*)\1/g

/** A module that is there for tests, or for fuzzing. */
const TEST_MODULE =
  /#\[cfg\((?:test|any\(test, feature = "fuzzing"\))\)\]\s*(?:#\[doc\(hidden\)\]\s*)?(?:pub(?:\(\w+\))? )?mod (\w+);/g

/** What a module exports that is defined elsewhere. */
const REEXPORT = /\bpub(?:\(\w+\))? use ((?:self|super|crate)::[^;]*);/g

let wrong = 0
for (const stair of rust) check(stair, rustGraph(stair.folder))
for (const stair of typescript) check(stair, scriptGraph(stair.folder))
if (wrong > 0) {
  console.error(`${wrong} violation${wrong === 1 ? '' : 's'} of the layers: see docs/architecture.md`)
  process.exit(1)
}

/**
 * @param {Stair} stair
 * @param {Graph} graph
 */
function check({ folder, layers, rules = [] }, graph) {
  const layerOf = (/** @type {string} */ file) =>
    layers.findIndex((names) => names.some((name) => file === name || file.startsWith(`${name}/`)))
  for (const [file, imports] of layers.length > 0 ? graph : []) {
    const own = layerOf(file)
    if (own < 0) {
      complain(`${folder}/${file} is in no layer`)
      continue
    }
    for (const [target, written] of imports) {
      if (layerOf(target) > own) complain(`${folder}/${file} imports upwards: ${written} is in ${target}`)
    }
  }
  for (const circle of circles(graph)) complain(`${folder} has a circle of imports: ${circle.join(' -> ')}`)
  for (const { pattern, where, why } of rules) {
    for (const file of [...graph.keys()].filter(where)) {
      const found = pattern.exec(rustCode(join(root, folder, file)))
      if (found) complain(`${folder}/${file} says ${found[0]}: ${why}`)
    }
  }
}

/** @param {string} message */
function complain(message) {
  console.error(message)
  wrong += 1
}

/**
 * One circle of each group of files that import each other.
 *
 * @param {Graph} graph
 * @returns {string[][]}
 */
function circles(graph) {
  /** @type {string[][]} */
  const found = []
  const done = new Set()
  /** @type {string[]} */
  const path = []
  const visit = (/** @type {string} */ file) => {
    const at = path.indexOf(file)
    if (at >= 0) {
      found.push([...path.slice(at), file])
      return
    }
    if (done.has(file)) return
    path.push(file)
    for (const target of graph.get(file)?.keys() ?? []) visit(target)
    path.pop()
    done.add(file)
  }
  for (const file of graph.keys()) visit(file)
  return found
}

/**
 * The files of a folder, relative to it, with slashes.
 *
 * @param {string} folder
 * @param {RegExp} pattern
 */
function filesOf(folder, pattern) {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .map((file) => file.split(sep).join('/'))
    .filter((file) => pattern.test(file))
    .sort()
}

// ---- TypeScript and JavaScript

/**
 * @param {string} folder
 * @returns {Graph}
 */
function scriptGraph(folder) {
  const files = filesOf(folder, /\.(?:ts|mjs)$/)
  return new Map(
    files.map((file) => {
      const text = readFileSync(join(root, folder, file), 'utf8').replace(/^\s*(?:\*|\/\/).*$/gm, '')
      const imports = new Map()
      for (const [, , path = ''] of text.matchAll(IMPORT)) {
        const target = relative(folder, join(folder, dirname(file), path))
          .split(sep)
          .join('/')
        const known = [target, target.replace(/\.js$/, '.ts')].find((name) => files.includes(name))
        if (known) imports.set(known, path)
      }
      return [file, imports]
    }),
  )
}

// ---- Rust

/**
 * A source file without comments, and without the modules that are for tests alone.
 *
 * @param {string} path
 */
function rustCode(path) {
  const code = readFileSync(path, 'utf8').replace(/^\s*\/\/.*$/gm, '')
  return code.replace(/#\[cfg\(test\)\]\s*mod \w+ \{[\s\S]*?\n\}/g, '')
}

/**
 * @param {string} folder
 * @returns {Graph}
 */
function rustGraph(folder) {
  const all = filesOf(folder, /\.rs$/)
  const moduleOf = (/** @type {string} */ file) =>
    file.replace(/(?:^|\/)(?:mod|lib)\.rs$|\.rs$/, '').replaceAll('/', '::')
  const byModule = new Map(all.map((file) => [moduleOf(file), file]))
  const tests = all.flatMap((file) =>
    [...readFileSync(join(root, folder, file), 'utf8').matchAll(TEST_MODULE)].map(([, name = '']) =>
      [moduleOf(file), name].filter(Boolean).join('::'),
    ),
  )
  const isTest = (/** @type {string} */ module) =>
    tests.some((name) => module === name || module.startsWith(`${name}::`))
  const code = new Map(
    all
      .filter((file) => file !== 'lib.rs' && !isTest(moduleOf(file)))
      .map((file) => [file, rustCode(join(root, folder, file))]),
  )
  const exported = new Map([...code].map(([file, text]) => [file, reexports(text)]))

  /** The file that defines what a path names, seen from a module. @type {(module: string, path: string) => string | null} */
  const resolve = (module, path) => {
    const parts = path.split('::')
    const at = module === '' ? [] : module.split('::')
    while (['crate', 'self', 'super'].includes(parts[0] ?? '')) {
      const first = parts.shift()
      if (first === 'crate') at.length = 0
      if (first === 'super') at.pop()
    }
    while (parts.length > 0 && byModule.has([...at, parts[0]].join('::'))) at.push(parts.shift() ?? '')
    const here = at.join('::')
    const file = byModule.get(here)
    if (file === undefined || here === '') return null
    const through = exported.get(file)?.get(parts[0] ?? '')
    return through === undefined ? file : resolve(here, through)
  }

  return new Map(
    [...code].map(([file, text]) => {
      const module = moduleOf(file)
      const imports = new Map()
      // What a module exports of its children is no import: it is where they are to be found.
      for (const path of paths(text.replace(REEXPORT, ''))) {
        const target = resolve(module, path)
        if (target !== null && target !== file && code.has(target)) imports.set(target, path)
      }
      return [file, imports]
    }),
  )
}

/**
 * The names that a module exports of others, and their paths.
 *
 * @param {string} code
 * @returns {Map<string, string>}
 */
function reexports(code) {
  const named = [...code.matchAll(REEXPORT)].flatMap(([, tree = '']) => expand(tree))
  return new Map(named.map((path) => [path.split('::').at(-1) ?? '', path]))
}

/**
 * The paths that begin at the crate, the module or the one above it, in `use` and elsewhere.
 *
 * @param {string} code
 */
function paths(code) {
  const used = [...code.matchAll(/\buse ((?:crate|self|super)::[^;]*);/g)].flatMap(([, tree = '']) => expand(tree))
  const inline = code.replace(/\buse [^;]*;/g, '').matchAll(/\b(?:crate|super|self)(?:::\w+)+/g)
  return [...used, ...[...inline].map(([path]) => path)]
}

/**
 * The paths of a `use` tree: `a::{b, c::{self, d}}` is `a::b`, `a::c` and `a::c::d`.
 *
 * @param {string} tree
 * @returns {string[]}
 */
function expand(tree) {
  const text = tree.trim().replace(/ as \w+$/, '')
  const open = text.indexOf('{')
  if (open < 0) return [text.replace(/::self$/, '')]
  const prefix = text.slice(0, open)
  let depth = 0
  let part = ''
  const parts = []
  for (const char of text.slice(open + 1, text.lastIndexOf('}'))) {
    if (char === '{') depth += 1
    if (char === '}') depth -= 1
    if (char === ',' && depth === 0) {
      parts.push(part)
      part = ''
    } else {
      part += char
    }
  }
  return [...parts, part].filter((each) => each.trim()).flatMap((each) => expand(prefix + each.trim()))
}
