import { setImmediate } from 'node:timers/promises'
import { type NativeCoffer, type NativePage, type NativeTime, settled } from '../binding/native.ts'
import { checkBoolean, checkInteger, checkName, checkOptions, checkSignal } from '../check.ts'
import { checkGlob, compileGlob, literalPrefix } from './glob.ts'
import { type BigIntMember, bigIntMemberFrom, memberFrom } from './member.ts'

/** What {@link Coffer.members} and {@link Coffer.iterate} take. */
export interface MemberQuery {
  /** The beginning of the names: any text; for the content of a directory, end it with `/`. */
  prefix?: string | undefined
  /**
   * A glob that the whole name must match: `*` is any text without `/`, `?` one character, `[a-z]` one of a set,
   * and a component `**` any number of components. A backslash makes the next character literal.
   */
  glob?: string | undefined
  /** The name after which to begin: that of the last member of the previous page. */
  after?: string | undefined
  /** The most members: no limit by default. */
  limit?: number | undefined
  /** Whether the members have `mtimeNs`, a bigint: false by default. */
  bigint?: boolean | undefined
  /** Ends the query with the signal's reason. */
  signal?: AbortSignal | undefined
}

const queryOptions = ['prefix', 'glob', 'after', 'limit', 'bigint', 'signal'] as const

/** Members in the first page, so that the first member comes soon; each further page has twice as many. */
const FIRST_PAGE = 64
/** Members in the largest page: converting it takes JavaScript's thread about two milliseconds. */
const LARGEST_PAGE = 2048
/** The most members of one query: more than any coffer has. */
const MOST = 2 ** 32 - 1

/** A checked query. */
export interface CheckedQuery {
  prefix: string | undefined
  matches: ((name: string) => boolean) | undefined
  after: string | undefined
  limit: number
  bigint: boolean
  signal: AbortSignal | undefined
}

/** Checks a query. */
export function checkQuery(query: MemberQuery, call: string): CheckedQuery {
  const { prefix, glob, after, limit, bigint, signal } = checkOptions(query, call, queryOptions)
  if (prefix !== undefined) checkName(prefix, 'prefix')
  if (after !== undefined) checkName(after, 'after')
  checkInteger(limit, 'limit', 0, Number.MAX_SAFE_INTEGER)
  const matches = glob === undefined ? undefined : compileGlob(checkGlob(glob))
  return {
    // Without a prefix, the literal beginning of the glob saves looking at all names.
    prefix: prefix ?? (glob === undefined ? undefined : literalPrefix(glob)),
    matches,
    after,
    limit: limit ?? Number.POSITIVE_INFINITY,
    bigint: checkBoolean(bigint, 'bigint') ?? false,
    signal: checkSignal(signal),
  }
}

/** The members that a query selects, page by page: each page is of the state of the coffer when it is read. */
export async function* pages(
  native: NativeCoffer,
  query: CheckedQuery,
): AsyncGenerator<BigIntMember[], void, undefined> {
  const { prefix, matches, limit, signal } = query
  let left = limit
  let from = query.after
  for (let size = FIRST_PAGE; left > 0; size = Math.min(size * 2, LARGEST_PAGE)) {
    signal?.throwIfAborted()
    const asked = matches === undefined ? Math.min(size, left) : size
    const page = (await settled(native.members(prefix, from, asked))).next()
    if (page === null) return
    const found = membersOf(page, query, left)
    left -= found.length
    if (found.length > 0) yield found
    if (page.names.length < asked) return
    from = page.names.at(-1)
  }
}

/** All members that a query selects, of one state of the coffer. The event loop turns after each page. */
export async function all(native: NativeCoffer, query: CheckedQuery): Promise<BigIntMember[]> {
  const { prefix, matches, after, limit, signal } = query
  signal?.throwIfAborted()
  const members: BigIntMember[] = []
  const asked = matches === undefined ? Math.min(limit, MOST) : MOST
  const found = await settled(native.members(prefix, after, asked))
  let page = found.next()
  while (page !== null) {
    for (const member of membersOf(page, query, limit - members.length)) members.push(member)
    page = members.length < limit ? found.next() : null
    if (page !== null) {
      await setImmediate()
      signal?.throwIfAborted()
    }
  }
  return members
}

/** The numbers of each member in a page. */
const COLUMNS = 5
/** What the last number of a directory in a page has beside its mode. */
const DIRECTORY = 2 ** 32

/** Those members of a page that a query selects, at most `most`. */
function membersOf({ names, numbers, exact }: NativePage, query: CheckedQuery, most: number): BigIntMember[] {
  // Without `bigint` the property is absent, as the overloads of the callers say.
  const convert = (query.bigint ? bigIntMemberFrom : memberFrom) as typeof bigIntMemberFrom
  const members: BigIntMember[] = []
  for (const [index, name] of names.entries()) {
    if (members.length >= most) break
    if (query.matches !== undefined && !query.matches(name)) continue
    const column = (number: number): number => numbers[COLUMNS * index + number] ?? 0
    const last = column(4)
    const directory = last >= DIRECTORY
    const mode = directory ? last - DIRECTORY : last
    const mtime: NativeTime = { seconds: column(2), nanoseconds: column(3) }
    if (exact !== undefined) mtime.exact = exact[index]
    members.push(convert({ name, directory, size: column(0), storedSize: column(1), mtime, mode }))
  }
  return members
}
