import { spawn } from 'node:child_process'
import { createHmac, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { UsageError } from '../exit.ts'
import { findProgram } from '../programs.ts'

/** The programs for a clipboard, with arguments. They read standard input, or write standard output. */
interface Tools {
  fill: readonly string[]
  read: readonly string[]
  /** Clears the clipboard, if filling it with an empty text does not. */
  clear?: readonly string[]
}

const clip: Tools = { fill: ['clip.exe'], read: ['powershell.exe', '-NoProfile', '-Command', 'Get-Clipboard -Raw'] }

/** The programs, in the order in which they are tried. */
function candidates(): readonly Tools[] {
  if (process.platform === 'darwin') return [{ fill: ['pbcopy'], read: ['pbpaste'] }]
  if (process.platform === 'win32') return [clip]
  const { WAYLAND_DISPLAY } = process.env
  const wayland: Tools = { fill: ['wl-copy'], read: ['wl-paste', '--no-newline'], clear: ['wl-copy', '--clear'] }
  return [
    ...(WAYLAND_DISPLAY ? [wayland] : []),
    { fill: ['xclip', '-selection', 'clipboard'], read: ['xclip', '-selection', 'clipboard', '-o'] },
    {
      fill: ['xsel', '--clipboard', '--input'],
      read: ['xsel', '--clipboard', '--output'],
      clear: ['xsel', '--clipboard', '--clear'],
    },
    // The Windows host of WSL.
    clip,
  ]
}

/** The standard input of the process that clears the clipboard. It has no secret in it. */
export interface Clearing {
  milliseconds: number
  /** The program that prints the clipboard; absent if there is none. */
  read?: readonly string[]
  /** The program that clears it, with an empty standard input. */
  clear: readonly string[]
  /** For comparing the clipboard: see {@link digestOf}. */
  salt: string
  digest: string
}

/** A keyed digest of the content of a clipboard. Newlines at the end are ignored, because programs may add one. */
export function digestOf(content: string | Uint8Array, salt: string): string {
  return createHmac('sha256', salt)
    .update(
      Buffer.from(content)
        .toString('utf8')
        .replace(/[\r\n]+$/, ''),
    )
    .digest('hex')
}

/**
 * Copies a text to the clipboard, by the standard input of a program of the system. After a time a
 * separate process, which outlives this one, clears it if it still has the text.
 *
 * @param milliseconds the time until it is cleared; 0 for never
 * @throws {UsageError} if there is no such program
 */
export async function copy(text: string, milliseconds: number): Promise<void> {
  const tools = candidates().find(({ fill: [name = ''] }) => findProgram(name) !== undefined)
  if (tools === undefined) {
    const names = candidates().map(({ fill: [name] }) => name)
    throw new UsageError(`there is no program for the clipboard on the PATH: none of ${names.join(', ')}`)
  }
  const fill = found(tools.fill) ?? []
  await feed(fill, text)
  if (milliseconds === 0) return
  const salt = randomBytes(32).toString('hex')
  const clearing: Clearing = {
    milliseconds,
    read: found(tools.read),
    clear: found(tools.clear ?? tools.fill) ?? fill,
    salt,
    digest: digestOf(text, salt),
  }
  const script = fileURLToPath(new URL(import.meta.url.replace(/clipboard(\.[jt]s)$/, 'clipboard-clear$1')))
  const child = spawn(process.execPath, [script], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    windowsHide: true,
  })
  await once(child, 'spawn')
  child.stdin.on('error', () => {})
  await new Promise<void>((resolve) => child.stdin.end(JSON.stringify(clearing), resolve))
  child.unref()
}

/** A command with the path of its program in place of the name; undefined if it is not found. */
function found([name = '', ...args]: readonly string[]): string[] | undefined {
  const path = findProgram(name)
  return path === undefined ? undefined : [path, ...args]
}

/** Runs a program with a text as its standard input. */
export async function feed([program = '', ...args]: readonly string[], text: string): Promise<void> {
  // A program that stays to serve the clipboard would keep an inherited output open.
  const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'ignore'], windowsHide: true })
  child.stdin.on('error', () => {})
  child.stdin.end(text)
  const [code, signal] = await once(child, 'exit')
  if (code !== 0) throw new Error(`${program} could not fill the clipboard (${signal ?? code})`)
}
