import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, it } from 'vitest'
import { CofferError } from './support/coffer.ts'
import { documented } from './support/documented.ts'
import { type Attempt, attempts, template } from './support/provocations.ts'
import { misuses, special } from './support/provoked.ts'

let directory = ''
let file: Buffer
beforeAll(async () => { directory = realpathSync(mkdtempSync(join(tmpdir(), 'coffer-codes-'))); file = await template(join(directory, 'template')) })
afterAll(() => rmSync(directory, { recursive: true, force: true }))
function limit(n: number | 'unlimited') { spawnSync('prlimit', ['--pid', `${process.pid}`, `--fsize=${n}:`]) }
it('probe', async () => {
  const docs = documented()
  let n = 0
  const got = new Map<string, Map<string, string>>()
  const all = [...attempts, ...special, ...misuses(docs)]
  const one = async ({ call, code, fail }: Attempt) => {
    n++
    const dir = join(directory, `${n}`)
    mkdirSync(dir)
    const at = (name: string) => name === '.' ? dir : join(dir, name)
    writeFileSync(at('box.coffer'), file)
    const t = Date.now()
    const out = await Promise.race([fail({ at, path: at('box.coffer') }).then(() => '-', (e: unknown) => e instanceof CofferError ? e.code.slice(11) : `!${e}`), new Promise((r) => setTimeout(() => r('TIMEOUT'), 20000))])
    if (Date.now() - t > 500) console.log(call, code, Date.now() - t, 'ms')
    const c = code.slice(11)
    if (special.some((s) => s.fail === fail) && out !== c) console.log('SPECIAL', call, c, out)
    if (!got.has(call)) got.set(call, new Map())
    got.get(call)!.set(c + (got.get(call)!.has(c) ? n : ''), out as string)
    rmSync(dir, { recursive: true, force: true })
  }
  const t0 = Date.now()
  for (const a of all.filter((a) => a.linux)) await one(a)
  console.log('time linux', Date.now() - t0, n)
  limit(file.length)
  for (const a of all.filter((a) => a.full)) await one(a)
  limit('unlimited')
  console.log('time full', Date.now() - t0, n)
  const queue = all.filter((a) => !a.linux && !a.full)
  await Promise.all(Array.from({ length: 8 }, async () => { for (let a = queue.shift(); a; a = queue.shift()) await one(a) }))
  console.log('time', Date.now() - t0, n)
  let text = ''
  for (const [call, d0] of docs) {
    const m = got.get(call) ?? new Map()
    const d = new Set([...d0].map((c) => c.slice(11)))
    const outs = new Set(m.values()); outs.delete('-')
    const un = [...outs].filter((o) => !d.has(o)).join(' ')
    const not = [...d].filter((o) => !outs.has(o)).join(' ')
    if (un || not) text += `${call}\n ${un && '  undocumented: '+un} ${not && ' not got: '+not}\n`
  }
  console.log(text)
}, 120000)
