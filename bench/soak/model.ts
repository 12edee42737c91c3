/** What the coffer of the soak must hold: its members, and of each the parts that make its bytes. */
import { nameOf, part } from '../children/soak-members.mjs'

interface Part {
  readonly version: number
  readonly length: number
}

export interface Entry {
  readonly number: number
  readonly name: string
  parts: readonly Part[]
  /** Whether a call that changes it is under way. */
  busy: boolean
}

export class Model {
  readonly #entries: Entry[] = []
  readonly #places = new Map<Entry, number>()
  #members = 0
  #versions = 0
  /** The bytes of all members. */
  bytes = 0

  get entries(): readonly Entry[] {
    return this.#entries
  }

  /** A member that does not exist yet, under a name that none has had. */
  create(): Entry {
    const number = this.#members++
    return { number, name: nameOf(number), parts: [], busy: true }
  }

  /** A new part of a member, which {@link replaced} or {@link appended} takes. */
  part(length: number): Part {
    return { version: this.#versions++, length }
  }

  replaced(entry: Entry, what: Part): void {
    if (!this.#places.has(entry)) {
      this.#places.set(entry, this.#entries.length)
      this.#entries.push(entry)
    }
    this.bytes += what.length - sizeOf(entry)
    entry.parts = [what]
    entry.busy = false
  }

  appended(entry: Entry, what: Part): void {
    this.bytes += what.length
    entry.parts = [...entry.parts, what]
    entry.busy = false
  }

  deleted(entry: Entry): void {
    const place = this.#places.get(entry)
    const last = this.#entries.pop()
    if (place === undefined || last === undefined) throw new Error(`${entry.name} is not in the model`)
    this.#places.delete(entry)
    if (last !== entry) {
      this.#entries[place] = last
      this.#places.set(last, place)
    }
    this.bytes -= sizeOf(entry)
  }
}

export function sizeOf({ parts }: Entry): number {
  return parts.reduce((sum, { length }) => sum + length, 0)
}

/** The bytes of a part. */
export function bytesOf({ number }: Entry, { version, length }: Part): Buffer {
  return part(number, version, length)
}

/** The bytes of a member. */
export function contentOf(entry: Entry): Buffer {
  return Buffer.concat(entry.parts.map((one) => bytesOf(entry, one)))
}
