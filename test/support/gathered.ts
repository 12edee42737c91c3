/** What an asynchronous iterable yields, as an array: `Array.fromAsync`, which Node.js 20 does not have. */
export async function gathered<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}
