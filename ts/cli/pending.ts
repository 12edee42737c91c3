/** What the package is about to have, until it has it: streams. */
import { Readable } from 'node:stream'
import { Batch } from '../batch.ts'
import { Coffer } from '../coffer.ts'
import type { WriteOptions } from '../options.ts'

export interface Coming {
  createReadStream(name: string, options?: { signal?: AbortSignal }): Readable
}

export interface ComingBatch {
  write(name: string, data: Readable, options: WriteOptions & { signal?: AbortSignal }): Promise<void>
}

export const pending = (coffer: Coffer): Coming => coffer as unknown as Coming
export const pendingBatch = (batch: Batch): ComingBatch => batch as unknown as ComingBatch

/** Whole members, until there are streams. */
if (!('createReadStream' in Coffer.prototype)) {
  Object.assign(Coffer.prototype, {
    createReadStream(this: Coffer, name: string) {
      const read = () => this.read(name)
      return Readable.from(
        (async function* () {
          yield await read()
        })(),
      )
    },
  })
  const { write } = Batch.prototype
  Batch.prototype.write = async function (name, data, options = {}) {
    const { signal: _, ...rest } = options as WriteOptions & { signal?: AbortSignal }
    const parts: Buffer[] = []
    if (!(data instanceof Readable)) return write.call(this, name, data, rest)
    for await (const part of data) parts.push(Buffer.from(part))
    return write.call(this, name, Buffer.concat(parts), rest)
  }
}
