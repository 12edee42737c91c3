import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, it } from 'vitest'
import { CofferError } from './support/coffer.ts'
import { documented } from './support/documented.ts'
import { attempts, template } from './support/provocations.ts'

let directory = ''
let file: Buffer
beforeAll(async () => { directory = realpathSync(mkdtempSync(join(tmpdir(), 'coffer-codes-'))); file = await template(join(directory, 'template')) })
afterAll(() => rmSync(directory, { recursive: true, force: true }))
it('probe', async () => {
  const docs = documented()
  let n = 0
  const got = new Map<string, Map<string, string>>()
  const t0 = Date.now()
  for (const { call, code, fail } of attempts) {
    n++
    const dir = join(directory, `${n}`)
    mkdirSync(dir)
    const at = (name: string) => name === '.' ? dir : join(dir, name)
    writeFileSync(at('box.coffer'), file)
    const t = Date.now()
    const out = await Promise.race([fail({ at, path: at('box.coffer') }).then(() => '-', (e: unknown) => e instanceof CofferError ? e.code.slice(11) : `!${e}`), new Promise((r) => setTimeout(() => r('TIMEOUT'), 5000))])
    if (Date.now() - t > 300) console.log(call, code, Date.now() - t, 'ms')
    const c = code.slice(11)
    if (!got.has(call)) got.set(call, new Map())
    got.get(call)!.set(c + (got.get(call)!.has(c) ? n : ''), out as string)
  }
  console.log('time', Date.now() - t0, n)
  let text = ''
  for (const [call, m] of got) {
    const d = new Set([...(docs.get(call) ?? [])].map((c) => c.slice(11)))
    const outs = new Set(m.values()); outs.delete('-')
    text += `${call}\n   got: ${[...outs].sort().join(' ')}\n   undocumented: ${[...outs].filter((o) => o !== '-' && !d.has(o)).join(' ')}\n   not got: ${[...d].filter((o) => !outs.has(o)).join(' ')}\n`
  }
  console.log(text)
}, 120000)
