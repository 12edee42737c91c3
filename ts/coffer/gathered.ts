import { errorFrom, type NativeCoffer, type NativeTime, settled } from '../binding/native.ts'
import { PackedMembers } from '../member/packed.ts'

/** Hands packed members over during the call. Of several that fail, the error is that of the first. */
export async function sendPacked(native: NativeCoffer, batch: bigint | undefined, packed: Uint8Array): Promise<void> {
  const [unwritten] = await settled(native.writeMany(batch, packed))
  if (unwritten !== undefined) throw errorFrom(unwritten.failure)
}

/** A write that is not handed over, or not answered yet. */
interface Waiting {
  resolve(): void
  reject(reason: unknown): void
}

/**
 * Small members that a batch writes without waiting for each: they are copied during the call, and cross into the engine
 * together at the next microtask. Each has its own result.
 */
export class GatheredWrites {
  readonly #native: NativeCoffer
  readonly #batch: bigint
  readonly #packed = new PackedMembers()
  #waiting: Waiting[] = []
  /** The member that was added last: the only one, if it is sent alone. */
  #last: { name: string; mode: number | undefined; mtime: NativeTime | undefined } | undefined

  constructor(native: NativeCoffer, batch: bigint) {
    this.#native = native
    this.#batch = batch
  }

  /** Copies a member for which `isSmall` holds. */
  write(name: string, data: string | Uint8Array, mode?: number, mtime?: NativeTime): Promise<void> {
    if (!this.#packed.add(name, data, mode, mtime)) {
      this.send()
      this.#packed.add(name, data, mode, mtime)
    }
    this.#last = { name, mode, mtime }
    if (this.#waiting.length === 0) queueMicrotask(() => this.send())
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
    })
  }

  /** Hands over what was gathered. */
  send(): void {
    const waiting = this.#waiting
    const [first] = waiting
    if (first === undefined) return
    this.#waiting = []
    const answered = waiting.length > 1 ? this.#sendAll(waiting) : this.#sendOne(first)
    answered.catch((error: unknown) => {
      for (const { reject } of waiting) reject(error)
    })
  }

  /** One member goes the way of a single write, on which the engine answers sooner. */
  async #sendOne({ resolve }: Waiting): Promise<void> {
    const data = this.#packed.lastData
    this.#packed.take()
    const { name = '', mode, mtime } = this.#last ?? {}
    await settled(this.#native.write(this.#batch, name, data, mode, mtime))
    resolve()
  }

  async #sendAll(waiting: readonly Waiting[]): Promise<void> {
    const unwritten = await settled(this.#native.writeMany(this.#batch, this.#packed.take()))
    for (const { index, failure } of unwritten) waiting[index]?.reject(errorFrom(failure))
    // One that is rejected stays so.
    for (const { resolve } of waiting) resolve()
  }
}
