import { describe, expect, it } from 'vitest'
import type { NativeCoffer, NativePage } from '../../ts/binding/native.ts'
import { all, checkQuery, pages } from '../../ts/member/query.ts'

const PAGES = 5

/** An engine that finds two members in each page, and what it was asked for. */
function engine(pages: number, next: (page: number) => void = () => {}) {
  const asked: (number | null | undefined)[] = []
  const native = {
    async members(_prefix?: string | null, after?: string | null, limit?: number | null) {
      asked.push(limit)
      let page = 0
      const found = {
        next(): NativePage | null {
          if (page === pages) return null
          next(page)
          page += 1
          const names = limit === undefined || limit === null || limit > 4_096 ? 2 : limit
          return {
            names: Array.from({ length: names }, (_, index) => `${after ?? ''}${page}-${index}`),
            numbers: new Float64Array(5 * names).fill(1),
          }
        },
      }
      return [null, found]
    },
  }
  return { asked, native: native as unknown as NativeCoffer }
}

describe('a query of members', () => {
  it('lets the event loop turn between the pages of all', async () => {
    let turns = 0
    let turning = setImmediate(function turn() {
      turns += 1
      turning = setImmediate(turn)
    })
    const seen: number[] = []
    const { native } = engine(PAGES, () => seen.push(turns))
    const members = await all(native, checkQuery({}, 'members'))
    clearImmediate(turning)
    expect(members).toHaveLength(2 * PAGES)
    expect(seen).toHaveLength(PAGES)
    // The counter may begin within a turn, so that the first two pages see the same.
    expect(new Set(seen.slice(1)).size).toBe(PAGES - 1)
  })

  it('ends between two pages at a signal', async () => {
    const reason = new Error('enough')
    const controller = new AbortController()
    let read = 0
    const { native } = engine(PAGES, (page) => {
      read += 1
      if (page === 1) controller.abort(reason)
    })
    await expect(all(native, checkQuery({ signal: controller.signal }, 'members'))).rejects.toBe(reason)
    expect(read).toBe(2)
  })

  it('reads no page behind its limit', async () => {
    let read = 0
    const { asked, native } = engine(PAGES, () => {
      read += 1
    })
    const members = await all(native, checkQuery({ glob: '*-*', limit: 3 }, 'members'))
    expect(members.map(({ name }) => name)).toEqual(['1-0', '1-1', '2-0'])
    expect(read).toBe(2)
    await all(native, checkQuery({ limit: 3 }, 'members'))
    expect(asked.at(-1)).toBe(3)
  })

  it('asks for pages that grow, and for no more than is left', async () => {
    const { asked, native } = engine(1)
    let found = 0
    for await (const page of pages(native, checkQuery({ limit: 9_000 }, 'iterate'))) found += page.length
    expect(found).toBe(9_000)
    expect(asked).toEqual([64, 128, 256, 512, 1_024, 2_048, 2_048, 2_048, 872])
  })
})
