import { spawn } from 'node:child_process'
import { mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { root } from '../../../scripts/prepare.mjs'
import { npm, npmCache } from './user.ts'

const home = join(root, 'target', 'test-package', 'registry')

/** A registry on this machine with these packages, which has all others from where npm gets them otherwise. */
export async function startRegistry(packages: readonly string[]): Promise<{ address: string; stop: () => void }> {
  rmSync(home, { recursive: true, force: true })
  mkdirSync(home, { recursive: true })
  // A package of ours can have other contents in the next run, under the same version.
  rmSync(npmCache, { recursive: true, force: true })
  const port = await freePort()
  const address = `http://127.0.0.1:${port}/`
  const config = join(home, 'config.yaml')
  writeFileSync(config, await configuration())
  const log = openSync(join(home, 'log'), 'a')
  const program = join(import.meta.dirname, '../node_modules/verdaccio/bin/verdaccio')
  const server = spawn(process.execPath, [program, '--config', config, '--listen', `127.0.0.1:${port}`], {
    cwd: home,
    stdio: ['ignore', log, log],
  })
  const stop = (): void => void server.kill()
  try {
    await answers(address)
    for (const file of packages) await publish(file, address)
  } catch (cause) {
    stop()
    throw new Error(`The registry cannot be set up; see ${join(home, 'log')}.`, { cause })
  }
  return { address, stop }
}

/** No package of ours comes from elsewhere, even if the name is taken there. */
async function configuration(): Promise<string> {
  const upstream = (await npm(['config', 'get', 'registry'])).trim()
  return `
storage: ${JSON.stringify(join(home, 'storage'))}
auth: { htpasswd: { file: ${JSON.stringify(join(home, 'users'))} } }
uplinks: { upstream: { url: ${JSON.stringify(upstream)}, timeout: 60s, maxage: 60m } }
packages:
  'coffer': { access: $all, publish: $all }
  'coffer-*': { access: $all, publish: $all }
  '**': { access: $all, proxy: upstream }
max_body_size: 50mb
web: { enable: false }
log: { type: stdout, format: pretty, level: http }
`
}

async function publish(file: string, address: string): Promise<void> {
  const { host } = new URL(address)
  // npm publishes for nobody without a token; this registry takes any.
  await npm(['publish', file, '--registry', address, `--//${host}/:_authToken=anyone`, '--provenance=false'])
}

async function answers(address: string): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    const answer = await fetch(`${address}-/ping`).catch(() => undefined)
    if (answer?.ok) return
    await delay(100)
  }
  throw new Error(`${address} does not answer.`)
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => (address !== null && typeof address === 'object' ? resolve(address.port) : reject()))
    })
  })
}
