import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Readable, type Transform } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { onTestFinished } from 'vitest'
import type { CryptPlugin } from './coffer.ts'
import { type Keys, type Kind, keysFor, openKind } from './kinds.ts'
import { tempDir } from './temp.ts'

/** A coffer's crypt, and a directory to work in. */
export async function cryptOf(
  kind: Kind,
  keys: Keys = keysFor(kind),
): Promise<{ crypt: CryptPlugin; at: (name: string) => string }> {
  const directory = tempDir()
  const box = await openKind(kind, join(directory, 'box.coffer'), 'x', keys)
  onTestFinished(async () => box.close())
  mkdirSync(join(directory, 'files'))
  return { crypt: await box.plugin('crypt'), at: (name) => join(directory, 'files', name) }
}

/** What comes out of a stream that these bytes are written to. */
export async function through(stream: Transform, data: Uint8Array | Iterable<Uint8Array>): Promise<Buffer> {
  const source = Readable.from(data instanceof Uint8Array ? [data] : data)
  const [result] = await Promise.all([buffer(stream), pipeline(source, stream)])
  return result
}
