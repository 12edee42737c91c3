/** One large file: a MiB of noise, a MiB of text, and so on. */
import { closeSync, openSync, writeSync } from 'node:fs'
import { made, text } from './packages.ts'
import { noise } from './random.ts'

const MiB = 1 << 20

/** A file of so many MiB of which half can be compressed. */
export function large(mebibytes: number): string {
  return made(`large-${mebibytes}`, (path) => {
    const words = text(64 * MiB)
    const random = noise(mebibytes)
    const file = openSync(path, 'w')
    for (let at = 0; at < mebibytes; at += 2) {
      const from = (at * MiB) % (words.length - MiB)
      writeSync(file, random(MiB))
      writeSync(file, words, from, MiB)
    }
    closeSync(file)
  })
}
