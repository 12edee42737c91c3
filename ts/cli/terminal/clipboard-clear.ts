import { spawn } from 'node:child_process'
import { buffer, text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import { type Clearing, digestOf, feed } from './clipboard.ts'

// The process that `coffer password clip` starts: it waits, and clears the clipboard if it still has the
// password, which it knows only by a keyed digest. If no program reads the clipboard, it is cleared in any
// case: a password that stays is worse than another text that is lost.
const { milliseconds, read, clear, salt, digest } = JSON.parse(await text(process.stdin)) as Clearing
await setTimeout(milliseconds)
if (read === undefined || digestOf(await content(read), salt) === digest) await feed(clear, '')

async function content([program = '', ...args]: readonly string[]): Promise<Uint8Array> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'], windowsHide: true })
  child.on('error', () => {})
  return buffer(child.stdout)
}
