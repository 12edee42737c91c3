import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CofferNull, type CofferProgress } from 'coffer'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const directory = mkdtempSync(join(tmpdir(), 'coffer-unit-'))
let box: CofferNull

beforeAll(async () => {
  box = await CofferNull.open(join(directory, 'box.coffer'), 'x')
  for (let at = 0; at < 20; at += 1) await box.write(`member ${at}`, Buffer.alloc(4 << 20, at))
  await box.flush()
})

afterAll(async () => {
  await box.close()
  rmSync(directory, { recursive: true, force: true })
})

describe('a long call', () => {
  it('rejects with the reason of a signal that was aborted before it', async () => {
    const reason = new Error('changed my mind')
    await expect(box.verify({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    await expect(CofferNull.open(box.path, 'r', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })

  it('rejects with the reason of a signal that is aborted meanwhile, and the coffer goes on', async () => {
    const controller = new AbortController()
    const reason = { any: 'value' }
    // One call could be done before a busy machine gets to abort it; ten of them are not.
    const calls = Promise.allSettled(Array.from({ length: 10 }, () => box.verify({ signal: controller.signal })))
    controller.abort(reason)
    const reasons = (await calls).filter((call) => call.status === 'rejected').map((call) => call.reason)
    expect(reasons.length).toBeGreaterThan(0)
    expect(new Set(reasons)).toEqual(new Set([reason]))
    expect((await box.read('member 3')).length).toBe(4 << 20)
  })

  it('stops waiting for a lock when it is aborted', async () => {
    const signal = AbortSignal.timeout(50)
    const start = performance.now()
    const opening = CofferNull.open(box.path, 'a', { signal, lockTimeout: 60_000 })
    await expect(opening).rejects.toMatchObject({ name: 'TimeoutError' })
    expect(performance.now() - start).toBeLessThan(30_000)
  })

  it('is not disturbed by a signal that is aborted after it', async () => {
    const controller = new AbortController()
    await box.verify({ signal: controller.signal })
    controller.abort()
  })

  it('says how far it has come, at most 20 times a second, and how far it came in the end', async () => {
    const reports: CofferProgress[] = []
    const start = performance.now()
    const { bytes } = await box.verify({ onProgress: (progress) => reports.push(progress) })
    const seconds = (performance.now() - start) / 1000
    expect(reports.at(-1)).toMatchObject({ bytes, totalBytes: bytes })
    expect(reports.length).toBeLessThanOrEqual(20 * seconds + 2)
    expect(reports.map((report) => report.bytes)).toEqual(reports.map((report) => report.bytes).sort((a, b) => a - b))
  })

  it('stops when its listener throws, and rejects with what was thrown', async () => {
    const thrown = new Error('no more')
    const call = box.verify({
      onProgress: () => {
        throw thrown
      },
    })
    await expect(call).rejects.toBe(thrown)
  })
})
