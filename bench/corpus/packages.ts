/** The npm packages that the corpus is made of, installed once into the cache. */
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { root } from '../../scripts/prepare.mjs'
import { shell } from '../peers/programs.ts'

/** Where everything that is made once is kept. */
export const cache = join(root, 'target', 'bench', 'corpus')

/** Members above this size are not small: they do not share a block with others. */
const SMALL = 128 << 10
/** How many files the tree has. */
export const TREE_FILES = 50_000

/** Makes something below the cache unless it is there, and gives its path. */
export function made(name: string, make: (path: string) => void): string {
  const path = join(cache, name)
  const ready = join(cache, `${name}.ready`)
  if (existsSync(ready)) return path
  rmSync(path, { recursive: true, force: true })
  mkdirSync(dirname(path), { recursive: true })
  make(path)
  writeFileSync(ready, '')
  return path
}

/** The packages that package-lock.json pins, as npm installs them. */
export function packages(): string {
  const installed = made('packages', (path) => {
    mkdirSync(path)
    for (const name of ['package.json', 'package-lock.json', '.npmrc']) {
      copyFileSync(join(import.meta.dirname, 'npm', name), join(path, name))
    }
    shell('cd "$1"; npm ci --legacy-peer-deps --no-audit --no-fund', [path])
  })
  return join(installed, 'node_modules')
}

/** A tree of so many small files of those packages. */
export function tree(files = TREE_FILES): string {
  return made(`tree-${files}`, (path) => {
    const from = packages()
    const small = readdirSync(from, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(from.length + 1))
      .sort()
      .filter((name) => statSync(join(from, name)).size <= SMALL)
    // Spread over all packages, whatever the number.
    const chosen = small.filter(
      (_, index) => Math.floor(((index + 1) * files) / small.length) > Math.floor((index * files) / small.length),
    )
    for (const name of chosen) {
      mkdirSync(join(path, dirname(name)), { recursive: true })
      linkSync(join(from, name), join(path, name))
    }
  })
}

/** Text of the packages: their sources, one after the other, so many bytes. */
export function text(bytes: number): Buffer {
  const from = packages()
  const parts: Buffer[] = []
  let length = 0
  for (const name of readdirSync(from, { recursive: true, encoding: 'utf8' }).sort()) {
    if (length >= bytes) break
    if (!/\.(js|ts|md|json)$/.test(name) || !statSync(join(from, name)).isFile()) continue
    const part = readFileSync(join(from, name))
    parts.push(part)
    length += part.length
  }
  return Buffer.concat(parts).subarray(0, bytes)
}
