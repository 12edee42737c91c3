/**
 * Makes a coffer of each kind from a real tree, opens it, reads from it, extracts it, and compares
 * what came out with what went in, byte by byte.
 *
 *     npm run quickstart [-- directory]
 */
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Coffer, CofferBank, CofferMarket, CofferNull, type CofferProgress, CofferStore, type OpenFlags } from 'coffer'

/** A directory that goes into the coffers, under a name of its own. */
interface Tree {
  directory: string
  name: string
}

/** A kind of coffer, with its keys. */
interface Kind {
  label: string
  open: (path: string, mode: OpenFlags) => Promise<Coffer>
}

const sum = (numbers: Iterable<number>): number => [...numbers].reduce((total, number) => total + number, 0)

/** The tree that was asked for, or packages that the install brought: a few large files, and many small ones. */
function chooseTrees(directory: string | undefined): Tree[] {
  if (directory !== undefined) return [{ directory: resolve(directory), name: basename(resolve(directory)) || 'tree' }]
  return ['typescript', 'es-toolkit'].map((name) => ({
    directory: fileURLToPath(new URL(`../node_modules/${name}`, import.meta.url)),
    name,
  }))
}

/** The size of each file below a directory, by its name below `name`. Links are followed to files only, as `add` does. */
async function sizes(directory: string, name: string): Promise<Map<string, number>> {
  const found = new Map<string, number>()
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name)
    const child = `${name}/${entry.name}`
    if (entry.isDirectory()) {
      for (const [below, size] of await sizes(path, child)) found.set(below, size)
    } else {
      const stats = await stat(path).catch(() => null)
      if (stats?.isFile()) found.set(child, stats.size)
    }
  }
  return found
}

function kinds(): Kind[] {
  const bank = CofferBank.generateKeys()
  const ocb = { ...CofferBank.generateKeys({ cipher: 'aes-ocb' }), cipher: 'aes-ocb' } as const
  const store = CofferStore.generateKeys()
  const market = CofferMarket.generateKeys()
  const layers = { member: { level: 6, cipher: 'none' }, container: { cipher: 'aes-ocb' } } as const
  const own = { ...layers, ...Coffer.generateKeys(layers) }
  return [
    { label: 'Bank (Fernet)', open: (path, mode) => CofferBank.open(path, mode, bank) },
    { label: 'Bank (AES-OCB)', open: (path, mode) => CofferBank.open(path, mode, ocb) },
    { label: 'Store', open: (path, mode) => CofferStore.open(path, mode, store) },
    { label: 'Market', open: (path, mode) => CofferMarket.open(path, mode, market) },
    { label: 'Null', open: (path, mode) => CofferNull.open(path, mode) },
    { label: 'Coffer (own mix)', open: (path, mode) => Coffer.open(path, mode, own) },
  ]
}

/** Runs something, and says how many milliseconds it took. */
async function timed<T>(work: () => Promise<T>): Promise<[result: T, milliseconds: number]> {
  const start = performance.now()
  const result = await work()
  return [result, performance.now() - start]
}

/** Shows how far a call is, on a terminal only. */
function progressLine(label: string): ((progress: CofferProgress) => void) | undefined {
  if (!process.stdout.isTTY) return undefined
  return ({ bytes, totalBytes, members }) => {
    const part = totalBytes ? ` ${Math.floor((100 * bytes) / totalBytes)} %` : ''
    process.stdout.write(`\r\x1b[K${label}:${part} ${members} files, ${megabytes(bytes)} MB`)
  }
}

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1)

const columns = ['kind', 'files', 'bytes in', 'coffer bytes', 'write s', 'open ms', 'read ms', 'extract s']

function row(cells: readonly (string | number)[]): string {
  const clear = process.stdout.isTTY ? '\r\x1b[K' : ''
  return clear + cells.map((cell, at) => (at === 0 ? String(cell).padEnd(16) : String(cell).padStart(13))).join('')
}

/** Everything that differs between the files that went in and those that came out. */
async function differences(trees: readonly Tree[], target: string): Promise<string[]> {
  const differing: string[] = []
  for (const { directory, name } of trees) {
    const before = await sizes(directory, name)
    const after = await sizes(join(target, name), name)
    for (const file of new Set([...before.keys(), ...after.keys()])) {
      if (!before.has(file) || !after.has(file)) {
        differing.push(`${file} is ${before.has(file) ? 'missing' : 'new'}`)
        continue
      }
      const [was, is] = await Promise.all([
        readFile(join(directory, file.slice(name.length + 1))),
        readFile(join(target, file)),
      ])
      if (!was.equals(is)) differing.push(`${file} differs`)
    }
  }
  return differing
}

async function tryKind({ label, open }: Kind, trees: readonly Tree[], files: Map<string, number>, scratch: string) {
  const path = join(scratch, 'quickstart.coffer')
  const target = join(scratch, 'extracted')

  const [, writing] = await timed(async () => {
    const coffer = await open(path, 'x')
    for (const { directory, name } of trees) {
      await coffer.add(directory, { as: name, onProgress: progressLine(`${label}, writing`) })
    }
    await coffer.close()
  })
  const [coffer, opening] = await timed(() => open(path, 'r'))
  const members = (await coffer.members()).filter(({ type }) => type === 'file')
  const middle = members[members.length >> 1]
  if (middle === undefined) throw new Error('the directory has no files in it')
  const [, reading] = await timed(() => coffer.read(middle.name))
  const [, extracting] = await timed(() =>
    coffer.extractAll(target, { onProgress: progressLine(`${label}, extracting`) }),
  )
  await coffer.close()

  const differing = await differences(trees, target)
  console.log(
    row([
      label,
      members.length,
      sum(files.values()),
      (await stat(path)).size,
      (writing / 1000).toFixed(2),
      opening.toFixed(1),
      reading.toFixed(1),
      (extracting / 1000).toFixed(2),
    ]),
  )
  if (differing.length === 0 && members.length === files.size) {
    console.log(`  all ${files.size} extracted files are the same as their sources, byte by byte`)
    return true
  }
  console.error(`  ${members.length} of ${files.size} files were stored, and these are not as they were:`)
  for (const difference of differing) console.error(`    ${difference}`)
  return false
}

const trees = chooseTrees(process.argv[2])
const files = new Map<string, number>()
for (const { directory, name } of trees) {
  for (const [file, size] of await sizes(directory, name)) files.set(file, size)
}
if (process.argv[2] === undefined && (files.size < 500 || sum(files.values()) < 20e6)) {
  throw new Error('the default tree has become too small: choose other packages for it')
}
console.log(
  `${trees.map(({ directory }) => directory).join(', ')}: ${files.size} files, ${megabytes(sum(files.values()))} MB`,
)
console.log(row(columns))
let good = true
for (const kind of kinds()) {
  const scratch = await mkdtemp(join(tmpdir(), 'coffer-quickstart-'))
  try {
    good = (await tryKind(kind, trees, files, scratch)) && good
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}
process.exitCode = good ? 0 : 1
