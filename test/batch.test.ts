import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { type Body, startChild } from './support/child.ts'
import { type Coffer, type CofferBatch, CofferNull } from './support/coffer.ts'
import { deferred } from './support/deferred.ts'
import { contents, keysFor, kindOf, kinds, openKind, optionsFor } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

describe.each(kinds)('a batch, $label', (kind) => {
  it('is one commit with all of its changes', async () => {
    const root = tempDir()
    const path = join(root, 'box.coffer')
    const keys = keysFor(kind)
    mkdirSync(join(root, 'tree'))
    writeFileSync(join(root, 'tree/added'), 'from disk')
    const box = await openKind(kind, path, 'x', keys, { autoFlush: true })
    await box.write('old', 'old')
    await box.write('grown', 'one')
    await box.flush()
    const before = box.head.generation
    const returned = await box.batch(async (batch) => {
      await batch.write('new', 'new')
      await batch.append('grown', ' two')
      await batch.writeLines('lines', ['a', 'b'])
      await batch.add(join(root, 'tree'), { as: 'tree' })
      await batch.delete('old')
      await batch.write('large', noise(2_500_000))
      return 42
    })
    expect(returned).toBe(42)
    expect(box.head.generation).toBe(before + 1)
    expect(box.modified).toBe(false)
    await box.close()
    await using again = await openKind(kind, path, 'r', keys)
    const members = await contents(again)
    expect([...members.keys()].sort()).toEqual(['grown', 'large', 'lines', 'new', 'tree/added'])
    expect(members.get('grown')?.toString()).toBe('one two')
    expect(members.get('large')?.equals(noise(2_500_000))).toBe(true)
  })

  it('waits for the next flush without autoFlush, and is one commit then', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    await using box = await openKind(kind, path, 'x', keys, { autoFlush: false })
    await box.write('before', 'x')
    const { generation } = box.head
    await box.batch(async (batch) => {
      await batch.write('inside', 'x')
      await batch.delete('before')
    })
    await box
      .batch(async (batch) => {
        await batch.delete('inside')
        throw new Error('no')
      })
      .catch(() => {})
    expect(box.head.generation).toBe(generation)
    expect(box.modified).toBe(true)
    await box.flush()
    expect(box.head.generation).toBe(generation + 1)
    expect((await box.members()).map((member) => member.name)).toEqual(['inside'])
  })

  it('is none of its changes when its function throws, and the coffer goes on as if nothing had been', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys)
    await box.write('kept', 'kept')
    await box.write('large', noise(2_000_000, 'large'))
    await box.flush()
    const { generation, digest } = box.head
    const reason = new Error('no')
    const failed = box.batch(async (batch) => {
      await batch.write('new', noise(2_500_000, 'new'))
      await batch.write('kept', 'changed')
      await batch.append('large', 'more')
      await batch.delete('large')
      throw reason
    })
    await expect(failed).rejects.toBe(reason)
    expect(box.head).toEqual({ generation, digest })
    expect(box.modified).toBe(false)
    expect([...(await contents(box)).keys()].sort()).toEqual(['kept', 'large'])
    expect(await box.readText('kept')).toBe('kept')
    expect((await box.read('large')).equals(noise(2_000_000, 'large'))).toBe(true)
    await box.write('after', 'goes on')
    await box.close()
    await using again = await openKind(kind, path, 'r', keys)
    await expect(again.verify()).resolves.toBeDefined()
    expect([...(await contents(again)).keys()].sort()).toEqual(['after', 'kept', 'large'])
  })

  it.each(['inside it', 'after it'])('is all or none when the process is killed %s', async (when) => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys)
    await box.write('kept', 'kept')
    await box.close()
    const body: Body<{ className: 'CofferBank'; path: string; options: object; inside: boolean }, void> = async (
      { coffer, say, hear },
      { className, path, options, inside },
    ) => {
      const box = await coffer[className].open(path, 'a', options)
      await box.batch(async (batch) => {
        for (let index = 0; index < 50; index += 1) await batch.write(`small/${index}`, `number ${index}`)
        await batch.write('large', new Uint8Array(3_000_000).fill(7))
        await batch.delete('kept')
        await batch.stat('large')
        if (inside) {
          await say('inside')
          await hear()
        }
      })
      await say('done')
      await hear()
    }
    const args = {
      className: kind.className as 'CofferBank',
      path,
      options: { ...optionsFor(kind, keys), autoFlush: true },
    }
    const child = startChild(body, { ...args, inside: when === 'inside it' })
    await child.heard()
    await child.kill()
    await using again = await openKind(kind, path, 'a', keys, { lockTimeout: 5_000 })
    const found = [...(await contents(again)).keys()]
    if (when === 'inside it') {
      expect(found).toEqual(['kept'])
    } else {
      expect(found).toHaveLength(51)
      expect(found).not.toContain('kept')
    }
    await expect(again.verify()).resolves.toBeDefined()
  })
})

describe('inside a batch', () => {
  const kind = kindOf('bank')
  const open = async (): Promise<Awaited<ReturnType<typeof openKind>>> =>
    openKind(kind, join(tempDir(), 'box.coffer'), 'x', keysFor(kind))

  it('its own changes are seen', async () => {
    await using box = await open()
    await box.write('old', 'old')
    await box.batch(async (batch) => {
      await batch.write('new', 'new')
      await batch.delete('old')
      expect(await batch.readText('new')).toBe('new')
      expect((await batch.read('new')).equals(Buffer.from('new'))).toBe(true)
      expect(await batch.has('old')).toBe(false)
      expect((await batch.stat('new')).size).toBe(3)
      expect((await batch.members()).map((member) => member.name)).toEqual(['new'])
    })
  })

  it('a failed call that is not caught takes everything back', async () => {
    await using box = await open()
    const failed = box.batch(async (batch) => {
      await batch.write('new', 'new')
      await batch.delete('missing')
    })
    await expect(failed).rejects.toMatchObject({ code: 'ERR_COFFER_MEMBER_NOT_FOUND', member: 'missing' })
    expect(await box.members()).toEqual([])
  })

  it('a failed call that is caught does not', async () => {
    await using box = await open()
    await box.batch(async (batch) => {
      await batch.write('new', 'new')
      await batch.delete('missing').catch(() => {})
    })
    expect(await box.readText('new')).toBe('new')
  })

  it('changing the coffer itself is refused rather than waited for without end', async () => {
    await using box = await open()
    await box.write('victim', 'x')
    await box.batch(async (batch) => {
      const refused = { code: 'ERR_COFFER_IN_BATCH', path: box.path }
      await expect(box.write('a', 'x')).rejects.toMatchObject(refused)
      await expect(box.append('a', 'x')).rejects.toMatchObject(refused)
      await expect(box.delete('victim')).rejects.toMatchObject(refused)
      await expect(box.flush()).rejects.toMatchObject(refused)
      await expect(box.compact()).rejects.toMatchObject(refused)
      await expect(box.close()).rejects.toMatchObject(refused)
      await expect(box.file('a', 'w')).rejects.toMatchObject(refused)
      expect(() => box.createWriteStream('a')).toThrow(expect.objectContaining(refused))
      await expect(box.batch(async () => {})).rejects.toMatchObject(refused)
      await batch.write('b', 'x')
    })
    expect(await box.has('b')).toBe(true)
  })

  it('another coffer can be changed', async () => {
    await using box = await open()
    await using other = await open()
    await box.batch(async (batch) => {
      await other.write('there', 'x')
      await batch.write('here', 'x')
    })
    expect(await other.has('there')).toBe(true)
  })

  it('the batch is over when its function has returned', async () => {
    await using box = await open()
    let kept: { write: (name: string, data: string) => Promise<void> } | undefined
    await box.batch(async (batch) => {
      kept = batch
    })
    await expect(kept?.write('late', 'x')).rejects.toMatchObject({ code: 'ERR_COFFER_BATCH_ENDED', path: box.path })
    expect(await box.has('late')).toBe(false)
  })

  it('calls that were not awaited belong to it', async () => {
    await using box = await open()
    const before = box.head.generation
    await box.batch(async (batch) => {
      for (let index = 0; index < 20; index += 1) void batch.write(`small/${index}`, 'x')
    })
    expect(box.head.generation).toBe(before + 1)
    expect(await box.members({ prefix: 'small' })).toHaveLength(20)
  })

  it('changes from elsewhere wait for its end, and are not part of it', async () => {
    await using box = await open()
    const order: string[] = []
    let release = (): void => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    const failed = box
      .batch(async (batch) => {
        await batch.write('inside', 'x')
        await gate
        order.push('batch')
        throw new Error('no')
      })
      .catch(() => {})
    const outside = box.write('outside', 'x').then(() => order.push('outside'))
    await new Promise((resolve) => setTimeout(resolve, 50))
    release()
    await Promise.all([failed, outside])
    expect(order).toEqual(['batch', 'outside'])
    expect((await box.members()).map((member) => member.name)).toEqual(['outside'])
  })

  it('batches queue up behind each other', async () => {
    await using box = await open()
    const add = async (): Promise<void> =>
      box.batch(async (batch) => {
        const count = (await batch.has('count')) ? Number(await batch.readText('count')) : 0
        await batch.write('count', String(count + 1))
      })
    await Promise.all(Array.from({ length: 25 }, add))
    expect(await box.readText('count')).toBe('25')
  })

  it('close waits for it', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys)
    const batch = box.batch(async (batch) => {
      await batch.write('one', 'x')
      await new Promise((resolve) => setTimeout(resolve, 30))
      await batch.write('two', 'x')
    })
    await Promise.all([box.close(), batch])
    await using again = await openKind(kind, path, 'r', keys)
    expect(await again.members()).toHaveLength(2)
  })

  it('is refused by a coffer opened for reading', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    await (await openKind(kind, path, 'x', keys)).close()
    await using box = await openKind(kind, path, 'r', keys)
    await expect(box.batch(async () => {})).rejects.toMatchObject({ code: 'ERR_COFFER_READ_ONLY' })
  })
})

describe('batches of several coffers', () => {
  const both = async (): Promise<[CofferNull, CofferNull]> => {
    const directory = tempDir()
    const open = (name: string) => CofferNull.open(join(directory, name), 'x')
    return [await open('a.coffer'), await open('b.coffer')]
  }
  const deadlock = { code: 'ERR_COFFER_DEADLOCK' }
  /** Two meet when both have come. */
  const meeting = (): (() => Promise<void>) => {
    let come = 0
    let all: () => void
    const met = new Promise<void>((resolve) => {
      all = resolve
    })
    return () => {
      come += 1
      if (come === 2) all()
      return met
    }
  }

  it('may be nested', async () => {
    const [a, b] = await both()
    await a.batch(async (inA) => {
      await b.batch(async (inB) => {
        await inA.write('x', '1')
        await inB.write('x', '2')
      })
      await b.write('y', '3')
    })
    expect([await a.readText('x'), await b.readText('x'), await b.readText('y')]).toEqual(['1', '2', '3'])
    await Promise.all([a.close(), b.close()])
  })

  it.each(['batch', 'write', 'delete', 'flush', 'compact', 'file', 'add'] as const)(
    'that wait for each other crosswise are an error of one of them (%s)',
    async (call) => {
      const [a, b] = await both()
      for (const box of [a, b]) await box.write('kept', 'x')
      const meet = meeting()
      const change = async (box: CofferNull): Promise<unknown> => {
        if (call === 'batch') return box.batch((batch) => batch.write('inner', 'x'))
        if (call === 'write') return box.write('inner', 'x')
        if (call === 'delete') return box.delete('kept')
        if (call === 'add') return box.add(box.path, { as: 'self' })
        if (call === 'file') {
          await using file = await box.file('inner', 'w')
          await file.write('x')
          return file.close()
        }
        return box[call]()
      }
      const crosswise = (outer: CofferNull, other: CofferNull) =>
        outer.batch(async (batch) => {
          await batch.write('outer', 'x')
          await meet()
          await change(other)
        })
      const outcomes = await Promise.allSettled([crosswise(a, b), crosswise(b, a)])
      const failed = outcomes.filter(({ status }) => status === 'rejected')
      expect(failed).toHaveLength(1)
      expect(failed[0]).toMatchObject({ reason: deadlock })
      await Promise.all([a.close(), b.close()])
    },
  )

  it('that wait for each other in a ring of three are an error of one of them', async () => {
    const [a, b] = await both()
    const c = await CofferNull.open(join(tempDir(), 'c.coffer'), 'x')
    const come: (() => void)[] = []
    const meet = (): Promise<void> =>
      new Promise((resolve) => {
        come.push(resolve)
        if (come.length === 3) for (const each of come) each()
      })
    const ring = [
      [a, b],
      [b, c],
      [c, a],
    ] as const
    const outcomes = await Promise.allSettled(
      ring.map(([one, next]) =>
        one.batch(async () => {
          await meet()
          await next.batch(async (batch) => batch.write('x', 'x'))
        }),
      ),
    )
    const failed = outcomes.filter(({ status }) => status === 'rejected')
    expect(failed).toHaveLength(1)
    expect(failed[0]).toMatchObject({ reason: deadlock })
    await Promise.all([a.close(), b.close(), c.close()])
  })

  it('that are side by side wait, and are no error', async () => {
    const [a, b] = await both()
    const both_ = async (name: string) =>
      a.batch(async (inA) => {
        await inA.write(name, 'x')
        await b.batch(async (inB) => inB.write(name, 'x'))
      })
    await Promise.all(['1', '2', '3', '4'].map(both_))
    expect((await b.members()).length).toBe(4)
    await Promise.all([a.close(), b.close()])
  })
})

describe('a function of a batch that waits for a change of the coffer itself', () => {
  const deadlock = { code: 'ERR_COFFER_DEADLOCK', message: expect.stringMatching(/waits for a change/) }
  const kind = kindOf('bank')
  const [keys, otherKeys] = [keysFor(kind), keysFor(kind)]
  const open = async (): Promise<Coffer> => openKind(kind, join(tempDir(), 'box.coffer'), 'x', keys)

  /** A batch during which a change is called outside of it, for which its function then waits. */
  async function waitingFor<T>(
    box: Coffer,
    change: (box: Coffer) => Promise<T>,
    wait: (change: Promise<T>) => Promise<unknown>,
  ): Promise<{ outside: Promise<T>; batch: Promise<unknown> }> {
    const begun = deferred<void>()
    const called = deferred<{ change: Promise<T> }>()
    const batch = box.batch(async (inside) => {
      await inside.write('inside', 'x')
      begun.resolve()
      await wait((await called.promise).change)
    })
    batch.catch(() => {})
    await begun.promise
    const outside = change(box)
    outside.catch(() => {})
    // In an object, so that handing it over does not wait for it.
    called.resolve({ change: outside })
    return { outside, batch }
  }

  it.each<[string, (box: Coffer) => Promise<unknown>]>([
    ['write', (box) => box.write('outside', 'x')],
    ['append', (box) => box.append('outside', 'x')],
    ['writeLines', (box) => box.writeLines('outside', ['x'])],
    ['dump', (box) => box.dump('outside', 'x')],
    ['delete', (box) => box.delete('victim')],
    ['flush', (box) => box.flush()],
    ['compact', (box) => box.compact()],
    ['rekey', (box) => box.rekey(otherKeys)],
    ['batch', (box) => box.batch(async (other) => other.write('outside', 'x'))],
    ['a stream', (box) => box.write('outside', Readable.from(['x']))],
    ['close', (box) => box.close()],
  ])('fails, and nothing of it is stored, but the change takes effect after it: %s', async (name, change) => {
    const box = await open()
    await box.write('victim', 'x')
    const { outside, batch } = await waitingFor(box, change, (promise) => promise)
    await expect(batch).rejects.toMatchObject({ ...deadlock, path: box.path })
    await outside
    await box.close()
    await using again = await openKind(kind, box.path, 'r', name === 'rekey' ? otherKeys : keys)
    const kept = name === 'delete' ? [] : ['victim']
    const written = ['write', 'append', 'writeLines', 'dump', 'batch', 'a stream'].includes(name) ? ['outside'] : []
    expect((await again.members()).map((member) => member.name)).toEqual([...written, ...kept])
  })

  it('fails in every form of waiting', async () => {
    await using box = await open()
    const forms: ((change: Promise<unknown>) => Promise<unknown>)[] = [
      async (change) => change,
      async (change) => Promise.all([change]),
      async (change) => Promise.race([change, new Promise(() => {})]),
      async (change) =>
        Promise.allSettled([change]).then(([one]) => Promise.reject(one?.status === 'rejected' && one.reason)),
      async (change) => change.then(() => 1),
      async (change) => change.finally(() => {}),
      async (change) => change.catch((error) => Promise.reject(error)),
    ]
    for (const form of forms) {
      const { outside, batch } = await waitingFor(box, (coffer) => coffer.write('outside', 'x'), form)
      await expect(batch).rejects.toMatchObject(deadlock)
      await outside
    }
    expect((await box.members()).map(({ name }) => name)).toEqual(['outside'])
  })

  it('has handled the change, whatever becomes of it', async () => {
    await using box = await open()
    const unhandled: unknown[] = []
    const note = (reason: unknown): void => {
      unhandled.push(reason)
    }
    process.on('unhandledRejection', note)
    const begun = deferred()
    const called = deferred<{ change: Promise<void> }>()
    const batch = box.batch(async () => {
      begun.resolve()
      await (await called.promise).change
    })
    await begun.promise
    called.resolve({ change: box.delete('missing') })
    await expect(batch).rejects.toMatchObject(deadlock)
    await box.flush()
    await new Promise((resolve) => setTimeout(resolve, 20))
    process.off('unhandledRejection', note)
    expect(unhandled).toEqual([])
  })

  it('may catch the error, and goes on', async () => {
    await using box = await open()
    const { outside, batch } = await waitingFor(
      box,
      (coffer) => coffer.write('outside', 'x'),
      (change) => change.catch(() => {}),
    )
    await Promise.all([batch, outside])
    expect((await box.members()).map(({ name }) => name)).toEqual(['inside', 'outside'])
  })

  it('fails inside of a batch of another coffer, too', async () => {
    await using box = await open()
    await using other = await CofferNull.open(join(tempDir(), 'other.coffer'), 'x')
    const { outside, batch } = await waitingFor(
      box,
      (coffer) => coffer.write('outside', 'x'),
      (change) => other.batch(async () => change),
    )
    await expect(batch).rejects.toMatchObject(deadlock)
    await outside
  })

  it('fails for a stream that was given before the batch, and ends only in it', async () => {
    await using box = await open()
    const gate = deferred()
    const source = async function* (): AsyncGenerator<string> {
      yield 'from outside'
      await gate.promise
    }
    const outside = box.write('outside', source())
    const batch = box.batch(async (inside) => {
      await inside.write('inside', 'x')
      gate.resolve()
      await outside
    })
    await expect(batch).rejects.toMatchObject(deadlock)
    await outside
    expect((await box.members()).map(({ name }) => name)).toEqual(['outside'])
  })

  it('waits for a change that was called before the batch, which is no deadlock', async () => {
    await using box = await open()
    await box.write('victim', 'x')
    const before = [
      box.write('one', noise(3_000_000)),
      box.append('two', 'x'),
      box.delete('victim'),
      box.batch(async (other) => other.write('three', 'x')),
      box.flush(),
    ]
    const seen = await box.batch(async (inside) => {
      await Promise.all(before)
      await inside.write('four', 'x')
      return (await inside.members()).map(({ name }) => name)
    })
    expect(seen).toEqual(['four', 'one', 'three', 'two'])
    const given = box.write('stream', Readable.from(['x']))
    await given
    await box.batch(async () => given)
  })

  it('waits for a change of another coffer, and for its own, which are no deadlock', async () => {
    await using box = await open()
    await using other = await CofferNull.open(join(tempDir(), 'other.coffer'), 'x')
    const { outside, batch } = await waitingFor(
      box,
      () => other.write('there', 'x'),
      (change) => change,
    )
    await Promise.all([outside, batch])
    await box.batch(async (inside) => {
      await Promise.all([inside.write('own', 'x'), inside.append('own', 'y')])
    })
    expect(await box.has('own')).toBe(true)
  })

  it('may hand the change on, to wait for after the batch', async () => {
    await using box = await open()
    const called = deferred<{ change: Promise<void> }>()
    const batch = box.batch(async (inside) => {
      await inside.write('inside', 'x')
      return called.promise
    })
    called.resolve({ change: box.write('outside', 'x') })
    await (await batch).change
    expect((await box.members()).map(({ name }) => name)).toEqual(['inside', 'outside'])
  })
})

describe('a batch that has ended', () => {
  it('takes no further call, whether it was kept or thrown away', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    await box.write('a', 'x')
    const ended = { code: 'ERR_COFFER_BATCH_ENDED', path: box.path }
    let batch: CofferBatch | undefined
    await box.batch(async (inside) => {
      batch = inside
    })
    const failed = box.batch(async (inside) => {
      batch = inside
      throw new Error('no')
    })
    const calls: ((batch: CofferBatch) => unknown)[] = [
      (late) => late.write('late', 'x'),
      (late) => late.write('late', Readable.from(['x'])),
      (late) => late.append('late', 'x'),
      (late) => late.writeLines('late', ['x']),
      (late) => late.dump('late', 'x'),
      (late) => late.add(box.path),
      (late) => late.delete('a'),
      (late) => late.read('a'),
      (late) => late.readText('a'),
      (late) => late.load('a'),
      (late) => late.has('a'),
      (late) => late.stat('a'),
      (late) => late.members(),
      async (late) => late.iterate(),
      async (late) => late[Symbol.asyncIterator](),
      async (late) => late.readLines('a'),
      async (late) => late.createReadStream('a'),
    ]
    const check = async (): Promise<void> => {
      for (const call of calls) {
        if (batch === undefined) throw new Error('no batch')
        await expect(call(batch), String(call)).rejects.toMatchObject(ended)
      }
    }
    await check()
    await failed.catch(() => {})
    await check()
    expect((await box.members()).map(({ name }) => name)).toEqual(['a'])
  })
})
