import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { names, publish } from '../scripts/publish.mjs'
import { tempDir } from './support/temp.js'

/** Three are enough here: each takes two calls of npm. */
const three = ['coffer-linux', 'coffer-windows', 'coffer']

interface Document {
  readonly 'dist-tags': Record<string, string>
  readonly versions: Record<string, { readonly dist: { readonly integrity: string } }>
}

/** What a registry does when npm asks for a package or publishes one. */
class Registry {
  readonly documents = new Map<string, Document>()
  /** In the order of their publication. */
  readonly published: string[] = []
  /** The package that it refuses. */
  refuses = ''

  readonly #server = createServer(async (request, response) => {
    const name = decodeURIComponent(request.url ?? '').slice(1)
    let body = ''
    for await (const chunk of request) body += chunk
    const answer = (status: number, value: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    }
    if (request.method === 'GET') {
      const document = this.documents.get(name)
      answer(document === undefined ? 404 : 200, document ?? { error: 'not found' })
    } else if (name === this.refuses) {
      answer(403, { error: 'refused' })
    } else {
      const document = JSON.parse(body) as Document
      const known = this.documents.get(name)
      this.documents.set(name, { ...document, versions: { ...known?.versions, ...document.versions } })
      this.published.push(`${name}@${Object.keys(document.versions).join()}`)
      answer(201, { ok: true })
    }
  })

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
  }

  stop(): void {
    this.#server.close()
  }

  /** What makes npm use it. */
  get options(): string[] {
    const host = `127.0.0.1:${(this.#server.address() as AddressInfo).port}`
    return [`--registry=http://${host}/`, `--//${host}/:_authToken=none`, `--cache=${tempDir()}`]
  }
}

describe('publishing', () => {
  let registry: Registry
  let packages: string

  beforeEach(async () => {
    registry = new Registry()
    await registry.start()
    vi.spyOn(console, 'log').mockReturnValue()
    packages = tempDir()
    for (const name of three) pack(name, '1.0.0')
  })
  afterEach(() => {
    registry.stop()
    vi.restoreAllMocks()
  })

  function pack(name: string, version: string, text = 'text'): void {
    mkdirSync(join(packages, 'package'), { recursive: true })
    writeFileSync(join(packages, 'package/package.json'), JSON.stringify({ name, version, text }))
    const file = `${name}-${version}.tgz`
    expect(spawnSync('tar', ['-czf', file, 'package'], { cwd: packages }).status).toBe(0)
    rmSync(join(packages, 'package'), { recursive: true })
  }

  it('is of all platforms, and of the main package last', () => {
    expect(names).toHaveLength(9)
    expect(names.at(-1)).toBe('coffer')
  })

  it('keeps to the order', async () => {
    await publish(packages, three, registry.options)
    expect(registry.published).toEqual(three.map((name) => `${name}@1.0.0`))
    expect(registry.documents.get('coffer')?.['dist-tags']).toEqual({ latest: '1.0.0' })
  })

  it('is finished by a second run where the first broke off', async () => {
    registry.refuses = 'coffer-windows'
    await expect(publish(packages, three, registry.options)).rejects.toThrow('403')
    expect(registry.published).toEqual(['coffer-linux@1.0.0'])
    registry.refuses = ''
    await publish(packages, three, registry.options)
    expect(registry.published).toEqual(three.map((name) => `${name}@1.0.0`))
  })

  it('adds a version to packages that have others', async () => {
    await publish(packages, three, registry.options)
    rmSync(packages, { recursive: true })
    for (const name of three) pack(name, '1.0.1')
    await publish(packages, three, registry.options)
    expect(registry.published.at(-1)).toBe('coffer@1.0.1')
    expect(registry.published).toHaveLength(6)
  })

  it('does not mix two builds of a version', async () => {
    await publish(packages, three, registry.options)
    pack('coffer-linux', '1.0.0', 'other text')
    await expect(publish(packages, three, registry.options)).rejects.toThrow('from another build')
    expect(registry.published).toHaveLength(3)
  })

  it('keeps what comes before a release from those who do not ask for it', async () => {
    for (const file of readdirSync(packages)) rmSync(join(packages, file))
    for (const name of three) pack(name, '1.1.0-rc.1')
    await publish(packages, three, registry.options)
    expect(registry.documents.get('coffer')?.['dist-tags']).toEqual({ next: '1.1.0-rc.1' })
  })

  it('does nothing when a package is missing, or there is one too many', async () => {
    pack('coffer-other', '1.0.0')
    await expect(publish(packages, three, registry.options)).rejects.toThrow('nothing was published')
    rmSync(join(packages, 'coffer-other-1.0.0.tgz'))
    rmSync(join(packages, 'coffer-linux-1.0.0.tgz'))
    await expect(publish(packages, three, registry.options)).rejects.toThrow('nothing was published')
    expect(registry.published).toEqual([])
  })

  it('does not take a registry that fails for one that has nothing', async () => {
    const { options } = registry
    registry.stop()
    await expect(publish(packages, three, [...options, '--fetch-retries=0'])).rejects.toThrow()
  })
})
