// @ts-check
/** How late the event loop and libuv's pool are while a large file goes into a bank, and while nothing happens. */
import { stat } from 'node:fs/promises'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { job, openBank, tell } from './setup.mjs'

const { source, coffer } = job

/**
 * What is seen while some work is done.
 *
 * @param {() => Promise<unknown>} work
 */
async function watch(work) {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  /** @type {number[]} */
  const stats = []
  let done = false
  delay.enable()
  const watching = (async () => {
    while (!done) {
      const start = performance.now()
      await stat(source)
      stats.push(performance.now() - start)
      await setTimeout(2)
    }
  })()
  await work()
  done = true
  await watching
  delay.disable()
  return { delay: delay.percentile(99) / 1e6, stats }
}

const bank = await openBank(coffer, 'w')
await watch(() => setTimeout(200))
const idle = await watch(() => setTimeout(3000))
const busy = await watch(() => bank.add(source, { as: 'large' }))
await bank.close()
tell({ idle, busy })
