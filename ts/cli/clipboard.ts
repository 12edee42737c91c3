import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { UsageError } from './exit.ts'

const { WAYLAND_DISPLAY } = process.env

/** The programs that fill a clipboard from their standard input, in the order in which they are tried. */
const programs: readonly (readonly string[])[] =
  process.platform === 'darwin'
    ? [['pbcopy']]
    : process.platform === 'win32'
      ? [['clip.exe']]
      : [
          ...(WAYLAND_DISPLAY ? [['wl-copy']] : []),
          ['xclip', '-selection', 'clipboard'],
          ['xsel', '--clipboard', '--input'],
          // Windows below which this Linux runs.
          ['clip.exe'],
        ]

/**
 * Puts a text into the clipboard, through the standard input of a program of the system.
 *
 * @throws {UsageError} if there is none
 */
export async function copy(text: string): Promise<void> {
  for (const [program = '', ...args] of programs) {
    // A program that stays to serve the clipboard would keep our output open.
    const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'ignore'] })
    const outcome = await Promise.race([once(child, 'spawn'), once(child, 'error')]).catch(() => null)
    if (outcome === null || outcome[0] instanceof Error) continue
    child.stdin.on('error', () => {})
    child.stdin.end(text)
    const [code, signal] = await once(child, 'exit')
    if (code === 0) return
    throw new Error(`${program} could not fill the clipboard (${signal ?? code})`)
  }
  throw new UsageError(`there is no program for the clipboard: none of ${programs.map(([name]) => name).join(', ')}`)
}
