import { COPIED_BYTES } from '../binding/feed.ts'
import { type NativeCoffer, type NativeTime, settled } from '../binding/native.ts'
import { checkThere, shown } from '../check.ts'
import { CofferError, invalid } from '../errors.ts'
import { Cancellation, cancelledBy } from './cancellation.ts'
import { isWhole, type MemberData, pour, type Sink } from './input.ts'
import { type Member, memberFrom } from './member.ts'
import { type Flag, Upload } from './upload.ts'

const NEW_FILE = 0o644

/** The coffer that a handle belongs to. */
export interface FileHost {
  readonly path: string
  readonly native: NativeCoffer
  /** Runs a change, and fails if it would wait for the batch that it is made in. */
  readonly change: <T>(call: string, change: () => Promise<T>) => Promise<T>
}

/** The writing side of a handle. Writes are queued. */
export class MemberWriter {
  readonly #upload: Upload
  readonly #flag: Flag
  readonly #mode: number | undefined
  readonly #mtime: NativeTime | undefined
  /** The bytes of the member so far, with those that were there before. */
  #size: number
  /** The last queued operation. It never rejects. */
  #last: Promise<unknown> = Promise.resolve()
  #failure: { reason: unknown } | undefined
  readonly #stop = new Cancellation()

  private constructor(
    upload: Upload,
    flag: Flag,
    size: number,
    mode: number | undefined,
    mtime: NativeTime | undefined,
  ) {
    this.#upload = upload
    this.#flag = flag
    this.#size = size
    this.#mode = mode
    this.#mtime = mtime
  }

  static async open(
    { native, path }: FileHost,
    name: string,
    flag: Flag,
    { mode, mtime }: { mode?: number; mtime?: NativeTime },
  ): Promise<MemberWriter> {
    const upload = new Upload(native, name)
    await upload.ready()
    const member = await settled(native.stat(name))
    if (member?.directory || (member && flag === 'x')) {
      upload.abort()
      const [code, what] = member.directory
        ? (['ERR_COFFER_IS_DIRECTORY', 'a directory'] as const)
        : (['ERR_COFFER_MEMBER_EXISTS', 'a member'] as const)
      throw new CofferError(code, `there is ${what} ${shown(name, 'name')} already`, { path, member: name })
    }
    const before = flag === 'a' ? (member?.size ?? 0) : 0
    return new MemberWriter(upload, flag, before, mode ?? member?.mode, mtime)
  }

  get failed(): boolean {
    return this.#failure !== undefined
  }

  async write(bytes: Uint8Array, position: number | null): Promise<number> {
    const { length } = bytes
    return this.#next(async () => {
      if (position !== null && position !== this.#size) {
        throw invalid(
          `position must be null, or ${this.#size}, where the member ends so far: a handle writes one byte after another`,
        )
      }
      await this.#guard(this.#upload.write(bytes))
      this.#size += length
      return length
    })
  }

  async pour(data: MemberData, signal: AbortSignal | undefined): Promise<void> {
    const before = this.#last
    const sink: Sink = {
      ready: async () => {
        await before
        this.#check()
      },
      write: async (bytes) => {
        const { length } = bytes
        await this.#upload.write(bytes)
        this.#size += length
      },
    }
    if (isWhole(data) && typeof data !== 'string') this.checkThere(data)
    const source = isWhole(data) ? [typeof data === 'string' ? data : ownCopy(data)] : data
    // The input is read at once; only its bytes wait for the writes before.
    const pouring = this.#guard(pour(source, sink, cancelledBy(signal), this.#stop))
    this.#last = pouring.catch(() => {})
    return pouring
  }

  async close(): Promise<void> {
    return this.#next(async () => this.#guard(this.#upload.finish(this.#flag, this.#mode, this.#mtime)))
  }

  /** Discards everything if the memory of the bytes is gone. */
  checkThere(data: Uint8Array): void {
    try {
      checkThere(data, 'the data')
    } catch (error) {
      this.fail(error)
      throw error
    }
  }

  /** Discards everything. The first reason stays. */
  fail(reason: unknown): void {
    if (this.#failure) return
    this.#failure = { reason }
    this.#upload.abort()
    this.#stop.cancel(reason)
  }

  stat(name: string): Member {
    const now = Date.now()
    const mtime = this.#mtime ?? { seconds: Math.floor(now / 1000), nanoseconds: (now % 1000) * 1_000_000 }
    return memberFrom({
      name,
      directory: false,
      size: this.#size,
      storedSize: 0,
      mtime,
      mode: this.#mode ?? NEW_FILE,
    })
  }

  #next<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(() => {
      this.#check()
      return work()
    })
    this.#last = done.catch(() => {})
    return done
  }

  #check(): void {
    if (this.#failure) throw this.#failure.reason
  }

  /** Discards the member if a write fails. */
  async #guard<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      this.fail(error)
      throw this.#failure?.reason
    }
  }
}

/** A copy of bytes that are few enough, so that the caller may reuse them at once, as for {@link Coffer.write}. */
export function ownCopy(bytes: Uint8Array): Uint8Array {
  return bytes.length > COPIED_BYTES ? bytes : new Uint8Array(bytes)
}
