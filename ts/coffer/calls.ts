import type { Readable } from 'node:stream'
import type { CofferBytes } from '../member/bytes.ts'
import type { MemberData } from '../member/input.ts'
import type { BigIntMember, Member } from '../member/member.ts'
import type {
  LinesOptions,
  NoOptions,
  ReadStreamOptions,
  SourceOptions,
  StatOptions,
  TextOptions,
  WriteOptions,
} from '../member/options.ts'
import type { MemberQuery } from '../member/query.ts'
import type { AddOptions, AddResult, DeleteOptions } from './writes.ts'

/**
 * The calls that read members. {@link Coffer} and {@link CofferBatch} have them, so a function that takes this
 * reads either; a wrapper implements it to stand in for a coffer.
 */
export interface CofferReader extends AsyncIterable<Member> {
  /** Reads a whole member: see {@link Coffer.read}. */
  read(name: string, options?: NoOptions): Promise<CofferBytes>
  /** Reads a whole member as text: see {@link Coffer.readText}. */
  readText(name: string, options?: TextOptions): Promise<string>
  /** The lines of a member: see {@link Coffer.readLines}. */
  readLines(name: string, options?: LinesOptions): AsyncGenerator<string, void, undefined>
  /** The value that {@link CofferWriter.dump} stored: see {@link Coffer.load}. */
  load<T = unknown>(name: string, options?: NoOptions): Promise<T>
  /** A stream of a member: see {@link Coffer.createReadStream}. */
  createReadStream(name: string, options?: ReadStreamOptions): Readable
  /** Whether a member or directory exists: see {@link Coffer.has}. */
  has(name: string, options?: NoOptions): Promise<boolean>
  /** The attributes of a member, with nanoseconds: see {@link Coffer.stat}. */
  stat(name: string, options: StatOptions & { bigint: true; throwIfNoEntry: false }): Promise<BigIntMember | undefined>
  /** The attributes of a member, with nanoseconds: see {@link Coffer.stat}. */
  stat(name: string, options: StatOptions & { bigint: true }): Promise<BigIntMember>
  /** The attributes of a member that may not exist: see {@link Coffer.stat}. */
  stat(name: string, options: StatOptions & { throwIfNoEntry: false }): Promise<Member | undefined>
  /** The attributes of a member: see {@link Coffer.stat}. */
  stat(name: string, options?: StatOptions): Promise<Member>
  /** The members that a query selects, with nanoseconds: see {@link Coffer.members}. */
  members(query: MemberQuery & { bigint: true }): Promise<BigIntMember[]>
  /** The members that a query selects: see {@link Coffer.members}. */
  members(query?: MemberQuery): Promise<Member[]>
  /** The members that a query selects, one after another: see {@link Coffer.iterate}. */
  iterate(query?: MemberQuery): AsyncGenerator<Member, void, undefined>
}

/** The calls that change members. {@link Coffer} and {@link CofferBatch} have them: see {@link CofferReader}. */
export interface CofferWriter extends CofferReader {
  /** Creates or replaces a member: see {@link Coffer.write}. */
  write(name: string, data: MemberData, options?: WriteOptions & SourceOptions): Promise<void>
  /** Appends to a member: see {@link Coffer.append}. */
  append(name: string, data: MemberData, options?: SourceOptions): Promise<void>
  /** Writes a member of lines: see {@link Coffer.writeLines}. */
  writeLines(name: string, lines: Iterable<string>, options?: WriteOptions): Promise<void>
  /** Stores a value as CBOR: see {@link Coffer.dump}. */
  dump(name: string, value: unknown, options?: WriteOptions): Promise<void>
  /** Stores a file or a directory: see {@link Coffer.add}. */
  add(source: string | URL, options?: AddOptions): Promise<AddResult>
  /** Deletes a member or a directory: see {@link Coffer.delete}. */
  delete(name: string, options?: DeleteOptions): Promise<void>
}
