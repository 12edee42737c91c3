import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { pythonEnv } from '../../scripts/python-env.mjs'
import type { Keys, Label } from './kinds.ts'

/** The Python that has PyCoffer, or null where there is none: suites that need it are skipped. */
export const python: string | null = await pythonEnv()

const script = fileURLToPath(new URL('../interop/pycoffer_driver.py', import.meta.url))

/** The size and SHA-256 of each file member, by name. */
export type Listing = Readonly<Record<string, { readonly size: number; readonly sha256: string }>>

/** PyCoffer's own options of a constructor. */
export interface PyCofferOptions {
  readonly lock_type?: 'rw' | 'w'
  readonly lock_timeout?: number
  readonly auto_flush?: boolean
  readonly backup?: string
}

/** What Python raised. */
export class PythonError extends Error {
  /** The name of the exception's class. */
  readonly type: string

  constructor(type: string, message: string) {
    super(`${type}: ${message}`)
    this.type = type
  }
}

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (reason: Error) => void
}

/** A running PyCoffer. One process, one command at a time; it keeps what it has open, open. */
export class PyCoffer {
  readonly #process: ChildProcessWithoutNullStreams
  readonly #waiting: Waiting[] = []

  /** @param temp where PyCoffer unpacks coffers to: what it leaves there when it is killed is the test's to remove */
  constructor(temp?: string) {
    if (python === null) throw new Error('there is no Python with PyCoffer here')
    this.#process = spawn(python, [script], {
      env: { ...process.env, ...(temp === undefined ? {} : { TMPDIR: temp }) },
    })
    this.#process.stderr.pipe(process.stderr)
    createInterface({ input: this.#process.stdout }).on('line', (line) => {
      const answer = JSON.parse(line) as { ok?: unknown; error?: { type: string; message: string } }
      const waiting = this.#waiting.shift()
      if (answer.error === undefined) waiting?.resolve(answer.ok)
      else waiting?.reject(new PythonError(answer.error.type, answer.error.message))
    })
    this.#process.on('exit', () => {
      for (const waiting of this.#waiting.splice(0)) waiting.reject(new Error('Python has ended'))
    })
  }

  async #call(command: Readonly<Record<string, unknown>>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#process.stdin.write(`${JSON.stringify(command)}\n`)
    })
  }

  /** Opens a coffer, taking PyCoffer's lock, under a handle's name. */
  async open(
    handle: string,
    kind: Label,
    path: string,
    mode: 'r' | 'w' | 'a' | 'x',
    keys: Keys,
    options: PyCofferOptions = {},
  ): Promise<void> {
    await this.#call({ do: 'open', handle, kind, path, mode, keys, ...options })
  }

  /** Closes a handle: PyCoffer rewrites the file, releases its lock and removes the lock file. */
  async close(handle: string): Promise<void> {
    await this.#call({ do: 'close', handle })
  }

  /**
   * Closes a handle up to the place where PyCoffer has released its lock and not removed the lock
   * file yet; the function that is returned does the rest.
   */
  async closeHalfway(handle: string): Promise<() => Promise<void>> {
    await this.#call({ do: 'close_halfway', handle })
    return async () => {
      await this.#call({ do: 'close_rest' })
    }
  }

  async write(handle: string, name: string, data: Uint8Array): Promise<void> {
    await this.#call({ do: 'write', handle, name, data: Buffer.from(data).toString('base64') })
  }

  async append(handle: string, name: string, data: Uint8Array): Promise<void> {
    await this.#call({ do: 'append', handle, name, data: Buffer.from(data).toString('base64') })
  }

  async read(handle: string, name: string): Promise<Buffer> {
    return Buffer.from((await this.#call({ do: 'read', handle, name })) as string, 'base64')
  }

  async readLines(handle: string, name: string): Promise<string[]> {
    return (await this.#call({ do: 'readlines', handle, name })) as string[]
  }

  async writeLines(handle: string, name: string, lines: readonly string[]): Promise<void> {
    await this.#call({ do: 'writelines', handle, name, lines })
  }

  /** What Python's cbor2 reads in a member, as Python shows it. */
  async loadCbor(handle: string, name: string): Promise<string> {
    return (await this.#call({ do: 'load_cbor', handle, name })) as string
  }

  /** Has Python's cbor2 write a Python literal. The value of its key `date`, if it has one, becomes a date. */
  async dumpCbor(handle: string, name: string, literal: string): Promise<void> {
    await this.#call({ do: 'dump_cbor', handle, name, literal })
  }

  /** Adds passwords with PyCoffer's plugin. */
  async addPasswords(handle: string, passwords: readonly Readonly<Record<string, string | null>>[]): Promise<void> {
    await this.#call({ do: 'add_passwords', handle, passwords })
  }

  async add(handle: string, source: string, name: string): Promise<void> {
    await this.#call({ do: 'add', handle, source, name })
  }

  async delete(handle: string, name: string): Promise<void> {
    await this.#call({ do: 'delete', handle, name })
  }

  async flush(handle: string): Promise<void> {
    await this.#call({ do: 'flush', handle })
  }

  async extractAll(handle: string, target: string): Promise<void> {
    await this.#call({ do: 'extractall', handle, target })
  }

  /** Encrypts a file with the keys of an open coffer, as PyCoffer's command `crypt` does. */
  async encrypt(handle: string, source: string, target: string): Promise<void> {
    await this.#call({ do: 'encrypt', handle, source, target })
  }

  /** Decrypts a file with the keys of an open coffer, as PyCoffer's command `decrypt` does. */
  async decrypt(handle: string, source: string, target: string): Promise<void> {
    await this.#call({ do: 'decrypt', handle, source, target })
  }

  /** Adds bytes to the end of an encrypted file. */
  async encryptAppend(handle: string, target: string, data: Uint8Array): Promise<void> {
    await this.#call({ do: 'encrypt_append', handle, target, data: Buffer.from(data).toString('base64') })
  }

  /** What PyCoffer sees in a coffer, without a lock. */
  async list(kind: Label, path: string, keys: Keys): Promise<Listing> {
    return (await this.#call({ do: 'list', kind, path, keys })) as Listing
  }

  /**
   * Which of the needles are found when every layer is peeled off everything in the file, dead
   * space included; `offsets` are places where chunks used to begin.
   */
  async search(
    kind: Label,
    path: string,
    keys: Keys,
    needles: readonly Buffer[],
    offsets: readonly number[] = [],
  ): Promise<string[][]> {
    const texts = needles.map((needle) => needle.toString('base64'))
    const found = (await this.#call({ do: 'search', kind, path, keys, needles: texts, offsets })) as Record<
      string,
      string[]
    >
    return texts.map((text) => found[text] ?? [])
  }

  /**
   * Seals the records with these tags from an offset on again, with the metadata key if `own`, or
   * with the user's raw key, as contents chosen by somebody else are. Returns how many there were.
   */
  async reseal(
    kind: 'store' | 'market',
    path: string,
    keys: Keys,
    start: number,
    tags: readonly ('cofC' | 'cofF')[],
    own: boolean,
  ): Promise<number> {
    return (await this.#call({ do: 'reseal', kind, path, keys, start, tags, own })) as number
  }

  /** Waits until every command so far has been answered. */
  async ping(): Promise<void> {
    await this.#call({ do: 'ping' })
  }

  /** Ends the process as a crash would. */
  kill(): void {
    this.#process.kill('SIGKILL')
  }

  /** Lets the process end. */
  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve))
    this.#process.stdin.end()
    if (this.#process.exitCode === null) await ended
  }
}

/** What a listing of some contents would be. */
export function listingOf(members: ReadonlyMap<string, Uint8Array>, digest: (data: Uint8Array) => string): Listing {
  return Object.fromEntries([...members].map(([name, data]) => [name, { size: data.length, sha256: digest(data) }]))
}
