/**
 * How long each kind takes to write a tree, as a ratio to `tar | zstd -3` in the same run.
 *
 * `npm run bench [directory]`; the runs alternate, and the median of five counts.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { CofferBank, CofferMarket, CofferNull, CofferStore } from 'coffer'

const ROUNDS = 5
const tree = process.argv[2] ?? join(import.meta.dirname, '../node_modules/typescript')
const temporary = mkdtempSync(join(tmpdir(), 'coffer-bench-'))

/** Writes the tree to a file that does not exist yet. */
type Contestant = (target: string) => Promise<void> | void

const contestants: Record<string, Contestant> = {
  'tar | zstd -3': (target) => {
    const script = 'tar -C "$1" -c "$2" | zstd -q -3 -T0 -o "$3" && sync "$3"'
    execFileSync('sh', ['-c', script, 'sh', dirname(tree), tree.slice(dirname(tree).length + 1), target])
  },
  'Bank, Fernet': (target) => write(CofferBank.open(target, 'x', CofferBank.generateKeys())),
  'Bank, AES-OCB': (target) =>
    write(CofferBank.open(target, 'x', { ...CofferBank.generateKeys({ cipher: 'aes-ocb' }), cipher: 'aes-ocb' })),
  'Store, level 3': (target) => write(CofferStore.open(target, 'x', { ...CofferStore.generateKeys(), level: 3 })),
  'Market, level 3': (target) => write(CofferMarket.open(target, 'x', { ...CofferMarket.generateKeys(), level: 3 })),
  Null: (target) => write(CofferNull.open(target, 'x')),
}

async function write(opening: ReturnType<typeof CofferNull.open> | Promise<CofferBank | CofferStore | CofferMarket>) {
  const coffer = await opening
  await coffer.add(tree, 'tree')
  await coffer.close()
}

const seconds = new Map<string, number[]>()
const bytes = new Map<string, number>()
try {
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [name, run] of Object.entries(contestants)) {
      const target = join(temporary, 'target')
      const start = performance.now()
      await run(target)
      seconds.set(name, [...(seconds.get(name) ?? []), (performance.now() - start) / 1000])
      bytes.set(name, statSync(target).size)
      rmSync(target)
      if (existsSync(`${target}.lock`)) rmSync(`${target}.lock`)
    }
  }
} finally {
  rmSync(temporary, { recursive: true, force: true })
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}

const peer = median(seconds.get('tar | zstd -3') ?? [])
const peerBytes = bytes.get('tar | zstd -3') ?? Number.NaN
console.log(
  `${'kind'.padEnd(16)}${'seconds'.padStart(9)}${'time ×'.padStart(9)}${'bytes'.padStart(12)}${'size ×'.padStart(9)}`,
)
for (const [name, values] of seconds) {
  const [time, size] = [median(values), bytes.get(name) ?? Number.NaN]
  console.log(
    `${name.padEnd(16)}${time.toFixed(2).padStart(9)}${(time / peer).toFixed(2).padStart(9)}${String(size).padStart(12)}${(size / peerBytes).toFixed(2).padStart(9)}`,
  )
}
