import { type NativeCoffer, settled } from '../binding/native.ts'
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
/** Members in the largest page: converting it takes JavaScript's thread a few milliseconds. */
const LARGEST_PAGE = 2048

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
  { prefix, matches, after, limit, bigint, signal }: CheckedQuery,
  firstPage: number = FIRST_PAGE,
): AsyncGenerator<BigIntMember[], void, undefined> {
  // Without `bigint` the property is absent, as the overloads of the callers say.
  const convert = (bigint ? bigIntMemberFrom : memberFrom) as typeof bigIntMemberFrom
  let left = limit
  let from = after
  for (let size = firstPage; left > 0; size = Math.min(size * 2, Math.max(firstPage, LARGEST_PAGE))) {
    signal?.throwIfAborted()
    const asked = matches === undefined ? Math.min(size, left) : size
    const page = await settled(native.members(prefix, from, asked))
    const taken = matches === undefined ? page : page.filter(({ name }) => matches(name)).slice(0, left)
    left -= taken.length
    if (taken.length > 0) yield taken.map(convert)
    if (page.length < asked) return
    from = page.at(-1)?.name
  }
}

/** All members that a query selects, in one page. */
export async function all(native: NativeCoffer, query: CheckedQuery): Promise<BigIntMember[]> {
  let members: BigIntMember[] = []
  for await (const page of pages(native, query, WHOLE)) members = members.length === 0 ? page : members.concat(page)
  return members
}

/** A page that holds all members: more than any coffer has. */
const WHOLE = 2 ** 32 - 1
