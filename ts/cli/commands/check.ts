import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { machine, release, tmpdir, type } from 'node:os'
import { join } from 'node:path'
import { binary } from '../../binding/binary.ts'
import { CofferNull } from '../../coffer/null.ts'
import { cipherNames, kindNames } from '../../keys/kinds.ts'
import { defaultConfigPath } from '../config/config.ts'
import { systemKeyring } from '../config/keyring.ts'
import { readPrivate } from '../config/private.ts'
import { Entry } from '../entry.ts'
import { EXIT } from '../exit.ts'
import { json, manner, properties } from '../terminal/output.ts'
import { version } from '../version.ts'

/** `coffer check` */
export function check(): Entry {
  const group = new Entry('check').summary('check this machine').description('Checks this machine.')
  group
    .command('system')
    .description('Shows the environment and the features of Coffer, and tests a coffer in a temporary directory.')
    .example('For a bug report', 'coffer check system')
    .action(async () => {
      const locks = await trial()
      const found = {
        coffer: version(),
        binary,
        node: process.version,
        system: `${type()} ${release()} (${process.platform}-${machine()})`,
        kinds: kindNames.join(', '),
        ciphers: cipherNames.join(', '),
        plugins: 'crypt, password, rsync',
        openssl: 'not used',
        configuration: await configuration(),
        keyring: await systemKeyring().then(
          () => 'available',
          (error: Error) => error.message,
        ),
        'files and locks': locks,
      }
      if (locks !== WORKS) process.exitCode = EXIT.failure
      if (manner.json) return json(found)
      await properties(Object.entries(found))
    })
  return group
}

const WORKS = 'work'

/** Creates, changes, locks and reads a coffer in the system's temporary directory. */
async function trial(): Promise<string> {
  let directory: string | undefined
  try {
    directory = await mkdtemp(join(tmpdir(), 'coffer-check-'))
    const path = join(directory, 'check.coffer')
    const coffer = await CofferNull.open(path, 'x')
    await coffer.write('a', 'works')
    await coffer.flush()
    const refused = await CofferNull.open(path, 'r', { lockTimeout: 0 }).then(
      async (second) => second.close().then(() => false),
      () => true,
    )
    await coffer.close()
    if (!refused) return `locks do not exclude in ${tmpdir()}`
    return (await readFile(path)).length > 0 ? WORKS : 'the file is empty'
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  } finally {
    if (directory !== undefined) await rm(directory, { recursive: true, force: true })
  }
}

async function configuration(): Promise<string> {
  const path = await Promise.resolve()
    .then(defaultConfigPath)
    .catch((error: Error) => error)
  if (path instanceof Error) return path.message
  return readPrivate(path).then(
    (text) => (text === null ? `none (${path})` : path),
    (error: Error) => error.message,
  )
}
