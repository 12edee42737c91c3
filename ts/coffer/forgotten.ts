import type { NativeCoffer } from '../binding/native.ts'

/** An open handle that writes, for the warning about changes that are lost. */
interface Entry {
  readonly native: NativeCoffer
  readonly path: string
  /** Where it was opened, in development. */
  readonly where: string | undefined
}

/** The open handles that write. An entry keeps the engine's side of its handle, not the handle. */
const entries = new Set<Entry>()

/** Warns about a handle that was collected before it was closed. */
const collected = new FinalizationRegistry<Entry>((entry) => {
  if (!entries.delete(entry)) return
  if (isLost(entry)) process.emitWarning(warningAbout(entry, 'nothing refers to it any more'))
  // Its locks are released now, not at a later collection.
  entry.native.abandon()
})

let listening = false

/**
 * Watches a handle: if it is collected as garbage, or is open when the process ends, and has changes that are in no
 * commit, a warning of the process tells it. What is flushed is stored; the rest is lost, as after a crash.
 *
 * @param handle the handle
 * @param native the engine's side of it
 * @param path the file
 * @returns a function that ends the watch, for a handle that was closed
 */
export function watchForgotten(handle: object, native: NativeCoffer, path: string): () => void {
  if (!listening) {
    listening = true
    process.on('exit', () => {
      // `emitWarning` would print on a tick that does not come any more.
      for (const entry of entries)
        if (isLost(entry)) process.emit('warning', warningAbout(entry, 'the process has ended'))
    })
  }
  const entry: Entry = { native, path, where: placeOfOpening() }
  entries.add(entry)
  collected.register(handle, entry, entry)
  return () => {
    entries.delete(entry)
    collected.unregister(entry)
  }
}

function isLost({ native }: Entry): boolean {
  const { closed, modified } = native.status()
  return modified && !closed
}

/** The stack of the call of `open`, without Node.js's and this package's own frames; none in production. */
function placeOfOpening(): string | undefined {
  if (process.env['NODE_ENV'] === 'production') return undefined
  const { stack = '' } = new Error('opened')
  return stack.slice(stack.indexOf('\n') + 1)
}

function warningAbout({ path, where }: Entry, why: string): Error {
  const warning = new Error(
    `${path} was not closed, and ${why}: the changes since its last flush are lost. Close coffers, with close() or await using`,
  )
  warning.name = 'CofferWarning'
  Object.defineProperty(warning, 'code', { value: 'COFFER_NOT_CLOSED', enumerable: true })
  if (where !== undefined) Object.defineProperty(warning, 'detail', { value: `It was opened\n${where}` })
  warning.stack = `${warning.name}: ${warning.message}`
  return warning
}
