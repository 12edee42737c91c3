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
import type { WatchOptions } from '../progress.ts'
import type { MemberEntry, WriteManyResult } from './write-many.ts'
import type { AddOptions, AddResult, DeleteOptions } from './writes.ts'

/**
 * The calls that read members. {@link Coffer} and {@link CofferBatch} have them, so a function that takes this
 * reads either; a wrapper implements it to stand in for a coffer.
 */
export interface CofferReader extends AsyncIterable<Member> {
  /**
   * Reads a whole member: see {@link Coffer.read}.
   *
   * @param name the name of the member
   * @param options none
   * @returns its bytes
   */
  read(name: string, options?: NoOptions): Promise<CofferBytes>
  /**
   * Reads a whole member as text: see {@link Coffer.readText}.
   *
   * @param name the name of the member
   * @param options its encoding
   * @returns its text
   */
  readText(name: string, options?: TextOptions): Promise<string>
  /**
   * The lines of a member: see {@link Coffer.readLines}.
   *
   * @param name the name of the member
   * @param options a signal that ends it
   * @returns the lines
   */
  readLines(name: string, options?: LinesOptions): AsyncGenerator<string, void, undefined>
  /**
   * The value that {@link CofferWriter.dump} stored: see {@link Coffer.load}.
   *
   * @typeParam T the type of the value, which is not checked
   * @param name the name of the member
   * @param options none
   * @returns the value
   */
  load<T = unknown>(name: string, options?: NoOptions): Promise<T>
  /**
   * A stream of a member: see {@link Coffer.createReadStream}.
   *
   * @param name the name of the member
   * @param options which part, and the size of chunks
   * @returns the stream
   */
  createReadStream(name: string, options?: ReadStreamOptions): Readable
  /**
   * Whether a member or directory exists: see {@link Coffer.has}.
   *
   * @param name the name
   * @param options none
   * @returns whether it exists
   */
  has(name: string, options?: NoOptions): Promise<boolean>
  /**
   * The attributes of a member, with nanoseconds: see {@link Coffer.stat}.
   *
   * @param name the name
   * @param options whether a missing one is an error, and whether there are nanoseconds
   * @returns the member
   */
  stat(name: string, options: StatOptions & { bigint: true; throwIfNoEntry: false }): Promise<BigIntMember | undefined>
  /**
   * The attributes of a member, with nanoseconds: see {@link Coffer.stat}.
   *
   * @param name the name
   * @param options whether a missing one is an error, and whether there are nanoseconds
   * @returns the member
   */
  stat(name: string, options: StatOptions & { bigint: true }): Promise<BigIntMember>
  /**
   * The attributes of a member that may not exist: see {@link Coffer.stat}.
   *
   * @param name the name
   * @param options whether a missing one is an error, and whether there are nanoseconds
   * @returns the member
   */
  stat(name: string, options: StatOptions & { throwIfNoEntry: false }): Promise<Member | undefined>
  /**
   * The attributes of a member: see {@link Coffer.stat}.
   *
   * @param name the name
   * @param options whether a missing one is an error, and whether there are nanoseconds
   * @returns the member
   */
  stat(name: string, options?: StatOptions): Promise<Member>
  /**
   * The members that a query selects, with nanoseconds: see {@link Coffer.members}.
   *
   * @param query the query
   * @returns the members, sorted by the bytes of their names
   */
  members(query: MemberQuery & { bigint: true }): Promise<BigIntMember[]>
  /**
   * The members that a query selects: see {@link Coffer.members}.
   *
   * @param query the query
   * @returns the members, sorted by the bytes of their names
   */
  members(query?: MemberQuery): Promise<Member[]>
  /**
   * The members that a query selects, one after another: see {@link Coffer.iterate}.
   *
   * @param query the query
   * @returns the members
   */
  iterate(query?: MemberQuery): AsyncGenerator<Member, void, undefined>
}

/** The calls that change members. {@link Coffer} and {@link CofferBatch} have them: see {@link CofferReader}. */
export interface CofferWriter extends CofferReader {
  /**
   * Creates or replaces a member: see {@link Coffer.write}.
   *
   * @param name the name of the member
   * @param data text, bytes, a stream or another iterable of them
   * @param options permissions, time, and a signal for streams
   * @returns when the change is accepted
   */
  write(name: string, data: MemberData, options?: WriteOptions & SourceOptions): Promise<void>
  /**
   * Creates or replaces many members: see {@link Coffer.writeMany}.
   *
   * @param entries the members
   * @param options cancellation and progress
   * @returns the extent of what was written
   */
  writeMany(
    entries: Iterable<MemberEntry> | AsyncIterable<MemberEntry>,
    options?: WatchOptions,
  ): Promise<WriteManyResult>
  /**
   * Appends to a member: see {@link Coffer.append}.
   *
   * @param name the name of the member
   * @param data text, bytes, a stream or another iterable of them
   * @param options a signal for streams
   * @returns when the change is accepted
   */
  append(name: string, data: MemberData, options?: SourceOptions): Promise<void>
  /**
   * Writes a member of lines: see {@link Coffer.writeLines}.
   *
   * @param name the name of the member
   * @param lines any iterable of strings
   * @param options permissions and time
   * @returns when the change is accepted
   */
  writeLines(name: string, lines: Iterable<string>, options?: WriteOptions): Promise<void>
  /**
   * Stores a value as CBOR: see {@link Coffer.dump}.
   *
   * @param name the name of the member
   * @param value the value
   * @param options permissions and time
   * @returns when the change is accepted
   */
  dump(name: string, value: unknown, options?: WriteOptions): Promise<void>
  /**
   * Stores a file or a directory: see {@link Coffer.add}.
   *
   * @param source a path or a `file:` URL
   * @param options the name in the coffer, replacement, links, cancellation and progress
   * @returns what was stored and left out
   */
  add(source: string | URL, options?: AddOptions): Promise<AddResult>
  /**
   * Deletes a member or a directory: see {@link Coffer.delete}.
   *
   * @param name the name of the member
   * @param options whether a directory is deleted with everything below it
   * @returns when the change is accepted
   */
  delete(name: string, options?: DeleteOptions): Promise<void>
}
