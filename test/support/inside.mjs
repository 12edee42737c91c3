/**
 * Runs the body of a test in a process or a worker thread of its own. The body arrives as source
 * text, so it can use its parameters and globals, and nothing else of the test file.
 */
import fs from 'node:fs'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import * as coffer from 'coffer'

const channel = isMainThread ? process : parentPort
const heard = []
const listeners = []

function receive(message) {
  const listener = listeners.shift()
  if (listener === undefined) heard.push(message)
  else listener(message)
}

function send(message) {
  if (isMainThread) {
    return new Promise((resolve, reject) => process.send(message, (error) => (error ? reject(error) : resolve())))
  }
  parentPort.postMessage(message)
  return Promise.resolve()
}

/** Everything a body may use. */
const inside = {
  coffer,
  fs,
  say: (message) => send({ say: message }),
  hear: () => new Promise((resolve) => (heard.length > 0 ? resolve(heard.shift()) : listeners.push(resolve))),
  worker: (source, args) => new Worker(new URL(import.meta.url), { workerData: { source, args } }),
}

async function run({ source, args }) {
  try {
    const body = (0, eval)(`(${source})`)
    await send({ done: await body(inside, args) })
  } catch (error) {
    await send({ failed: { name: error?.name, message: error?.message, code: error?.code, stack: error?.stack } })
  }
  if (isMainThread) process.disconnect()
  else parentPort.close()
}

if (isMainThread) {
  process.once('message', (task) => {
    process.on('message', receive)
    void run(task)
  })
} else {
  channel.on('message', receive)
  void run(workerData)
}
