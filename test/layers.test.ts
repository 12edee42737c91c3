import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const scripts = fileURLToPath(new URL('../scripts', import.meta.url))

/** A checkout with nothing in it but the scripts and what a test writes. */
let checkout = ''

beforeEach(() => {
  checkout = mkdtempSync(join(tmpdir(), 'coffer-layers-'))
  cpSync(scripts, join(checkout, 'scripts'), { recursive: true })
  for (const folder of ['crates/coffer-core/src', 'crates/coffer-node/src', 'ts', 'bench']) {
    mkdirSync(join(checkout, folder), { recursive: true })
  }
})

afterEach(() => rmSync(checkout, { recursive: true, force: true }))

function write(files: Record<string, string>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(checkout, path)), { recursive: true })
    writeFileSync(join(checkout, path), text)
  }
}

function layers(): { status: number | null; said: string } {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/layers.mjs'], { cwd: checkout, encoding: 'utf8' })
  return { status, said: stderr }
}

const core = 'crates/coffer-core/src'

describe('the check of the layers', () => {
  it('passes imports downwards, and lets tests import anything', () => {
    write({
      [`${core}/format/mod.rs`]: '#[cfg(test)]\nmod commit_tests;\npub mod commit;\n',
      [`${core}/format/commit.rs`]:
        'use crate::crypto::key;\n#[cfg(test)]\nmod tests {\n    use crate::coffer::Coffer;\n}\n',
      [`${core}/format/commit_tests.rs`]: 'use crate::coffer::Coffer;\n',
      [`${core}/crypto/key.rs`]: '',
      [`${core}/coffer/mod.rs`]: 'use crate::format::{commit, self};\n',
      'ts/coffer/coffer.ts': "import type { Key } from '../keys/key.ts'\n",
      'ts/keys/key.ts': "// import { Coffer } from '../coffer/coffer.ts'\n",
    })
    expect(layers()).toEqual({ status: 0, said: '' })
  })

  it('names an import upwards in Rust, wherever it is written', () => {
    write({
      [`${core}/format/commit.rs`]: 'fn f() -> crate::coffer::Coffer { todo!() }\n',
      [`${core}/coffer/mod.rs`]: 'pub struct Coffer;\n',
      [`${core}/io/pool.rs`]: 'use crate::{error, ops::add::Added};\n',
      [`${core}/ops/mod.rs`]: 'pub mod add;\n',
      [`${core}/ops/add.rs`]: 'pub struct Added;\n',
    })
    const { status, said } = layers()
    expect(status).toBe(1)
    expect(said).toContain(`${core}/format/commit.rs imports upwards: crate::coffer::Coffer is in coffer/mod.rs`)
    expect(said).toContain(`${core}/io/pool.rs imports upwards: crate::ops::add::Added is in ops/add.rs`)
  })

  it('names a circle in Rust, also one through a name that a module exports of another', () => {
    write({
      [`${core}/engine/mod.rs`]: 'mod reader;\nmod view;\npub use self::view::View;\n',
      [`${core}/engine/reader.rs`]: 'use super::View;\n',
      [`${core}/engine/view.rs`]: 'use super::reader::Reader;\n',
    })
    const { status, said } = layers()
    expect(status).toBe(1)
    expect(said).toContain('a circle of imports: engine/reader.rs -> engine/view.rs -> engine/reader.rs')
  })

  it('names what only io may ask of the system, and what format may not do at all', () => {
    write({
      [`${core}/ops/info.rs`]: 'fn f() { std::fs::metadata("a"); }\n',
      [`${core}/format/name.rs`]: 'fn f() { std::time::Instant::now(); }\n',
    })
    const { said } = layers()
    expect(said).toContain(`${core}/ops/info.rs says std::fs`)
    expect(said).toContain(`${core}/format/name.rs says std::time`)
  })

  it('names an import upwards and a circle in TypeScript, of types too', () => {
    write({
      'ts/keys/key.ts': "import type { Coffer } from '../coffer/coffer.ts'\n",
      'ts/coffer/coffer.ts':
        "export { Key } from '../keys/key.ts'\nconst later = () => import('../plugins/crypt.ts')\n",
      'ts/plugins/crypt.ts': '',
    })
    const { status, said } = layers()
    expect(status).toBe(1)
    expect(said).toContain('ts/keys/key.ts imports upwards: ../coffer/coffer.ts is in coffer/coffer.ts')
    expect(said).toContain('ts/coffer/coffer.ts imports upwards: ../plugins/crypt.ts is in plugins/crypt.ts')
    expect(said).toContain('a circle of imports: coffer/coffer.ts -> keys/key.ts -> coffer/coffer.ts')
  })
})
