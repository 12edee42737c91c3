// @ts-check
/** By how much the process grows, at most, while a large file goes into a bank, comes out, or is streamed. */
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { job, openBank, peak, tell } from './setup.mjs'

const { what, source, coffer, target } = job
// The package is loaded, and a bank has been made and closed: the process is idle.
const warm = await openBank(`${coffer}.warm`, 'w')
await warm.write('warm', 'x'.repeat(1000))
await warm.close()
const idle = process.memoryUsage.rss()

const bank = await openBank(coffer, what === 'in' || what === 'stream in' ? 'w' : 'r')
if (what === 'in') await bank.add(source, { as: 'large' })
if (what === 'out') await bank.extract('large', target)
if (what === 'stream in') {
  await pipeline(createReadStream(source, { highWaterMark: 1 << 18 }), bank.createWriteStream('large'))
}
if (what === 'stream out') {
  let length = 0
  for await (const chunk of bank.createReadStream('large')) length += chunk.length
  if (length === 0) throw new Error('nothing came out')
}
await bank.close()
tell({ grown: peak() - idle })
