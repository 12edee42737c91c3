/**
 * What a stream of unknown length costs: its bytes go into a bank, ten from its end come out, and
 * then all of them. Prints times, and by how much the process grew above what it had at rest.
 *
 * `npx tsx bench/stream.ts [MiB]`, 1,024 by default, of bytes that do not compress.
 */
import { createCipheriv, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { CofferBank } from 'coffer'

const MiB = 1 << 20
const CHUNK = 64 * 1024
const total = Number(process.argv[2] ?? 1024) * MiB
const directory = mkdtempSync(join(tmpdir(), 'coffer-bench-'))

const marks = new Map<string, number>()
const rss = (): number => process.memoryUsage().rss
const peak = (): number => process.resourceUsage().maxRSS * 1024

async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const start = performance.now()
  const result = await work()
  marks.set(what, (performance.now() - start) / 1000)
  return result
}

const noise = createCipheriv('aes-256-ctr', randomBytes(32), Buffer.alloc(16))
const zeros = Buffer.alloc(CHUNK)
let last = Buffer.alloc(0)

/** Chunks that do not compress. */
function* chunks(): Generator<Buffer> {
  for (let at = 0; at < total; at += CHUNK) {
    last = noise.update(zeros)
    yield last
  }
}

try {
  const path = join(directory, 'bank.coffer')
  const bank = await CofferBank.open(path, 'x', { ...CofferBank.generateKeys(), tempDir: directory })
  await bank.write('warm', [Buffer.alloc(4 * MiB)])
  const idle = Math.max(rss(), peak())

  await timed('in', async () => pipeline(Readable.from(chunks()), bank.createWriteStream('large')))
  const afterIn = peak()
  const tail = await timed('ten bytes', async () => bank.createReadStream('large', { start: total - 10 }).toArray())
  if (!Buffer.concat(tail).equals(last.subarray(-10))) throw new Error('these are not the last ten bytes')
  const afterTen = peak()
  await timed('out', async () => {
    let seen = 0
    for await (const chunk of bank.createReadStream('large')) seen += chunk.length
    if (seen !== total) throw new Error(`${seen} bytes came out`)
  })
  const afterOut = peak()
  await bank.close()

  const size = `${total / MiB} MiB`
  const row = (what: string, seconds: number, grown: number): string =>
    `${what.padEnd(36)}${seconds.toFixed(3).padStart(9)} s${((grown - idle) / MiB).toFixed(1).padStart(9)} MiB above idle`
  console.log(`idle ${(idle / MiB).toFixed(1)} MiB; the coffer has ${(statSync(path).size / MiB).toFixed(1)} MiB`)
  console.log(row(`${size} of unknown length in`, marks.get('in') ?? Number.NaN, afterIn))
  console.log(row('10 bytes from the end out', marks.get('ten bytes') ?? Number.NaN, afterTen))
  console.log(row(`${size} out`, marks.get('out') ?? Number.NaN, afterOut))
} finally {
  rmSync(directory, { recursive: true, force: true })
}
