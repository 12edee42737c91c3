import { HeapRoom } from '../cbor/heap.ts'

/**
 * A global that a pickle refers to by module and name. The caller supplies all of them; nothing is looked
 * up elsewhere, and no other function is called.
 */
export class Global {
  readonly name: string
  /** Returns the result of a call. */
  readonly call: (args: readonly unknown[]) => unknown

  constructor(name: string, call: (args: readonly unknown[]) => unknown) {
    this.name = name
    this.call = call
  }
}

/** An object whose attributes the pickle sets. */
export class PickledObject {
  /** The attributes by name. */
  attributes: ReadonlyMap<unknown, unknown> = new Map()
}

/** The newest supported protocol. */
const PROTOCOL = 5

/**
 * Decodes a pickle of Python 3: protocols 0 to 5, as described in Python's `pickletools`. The supported
 * opcodes are those for None, booleans, numbers, text, bytes, tuples and lists (arrays here), dicts (Maps
 * here; a tuple as a key is compared by identity), and calls of the given globals.
 *
 * Nothing recurses, and no operation copies more bytes than the pickle has, so a hostile pickle causes an
 * error and not a crash.
 *
 * @param globals the allowed globals, by `module.name`
 * @param room the budget of memory for its values
 * @throws {Error} if the pickle is invalid
 */
export function unpickle(
  pickle: Uint8Array,
  globals: ReadonlyMap<string, Global>,
  room: HeapRoom = new HeapRoom(),
): unknown {
  return new Machine(Buffer.from(pickle.buffer, pickle.byteOffset, pickle.byteLength), globals, room).run()
}

/**
 * Estimated bytes on the heap of the result of an operation: a dict, or any other value with its place on the
 * stack.
 */
const COST = { dict: 320, value: 96 } as const

/** The stack machine that runs a pickle. */
class Machine {
  readonly #bytes: Buffer
  readonly #globals: ReadonlyMap<string, Global>
  readonly #stack: unknown[] = []
  readonly #marks: number[] = []
  readonly #memo = new Map<number, unknown>()
  readonly #room: HeapRoom
  #at = 0

  constructor(bytes: Buffer, globals: ReadonlyMap<string, Global>, room: HeapRoom) {
    this.#bytes = bytes
    this.#globals = globals
    this.#room = room
  }

  run(): unknown {
    for (;;) {
      const opcode = this.byte()
      if (opcode === STOP) return this.pop()
      const operation = operations.get(opcode)
      if (operation === undefined)
        throw new Error(`the opcode 0x${opcode.toString(16).padStart(2, '0')} is not read here`)
      this.#room.take(opcode === EMPTY_DICT || opcode === DICT ? COST.dict : COST.value)
      operation(this)
    }
  }

  take(length: number): Buffer {
    const end = this.#at + length
    if (end > this.#bytes.length) throw new Error('it ends too early')
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }

  /** An unsigned integer of up to 8 bytes, little-endian. An unsafe integer exceeds any length of a file. */
  unsigned(size: 1 | 2 | 4 | 8): number {
    const bytes = this.take(size)
    return size === 8 ? Number(bytes.readBigUInt64LE()) : bytes.readUIntLE(0, size)
  }

  byte(): number {
    return this.unsigned(1)
  }

  line(): string {
    const end = this.#bytes.indexOf('\n', this.#at)
    if (end < 0) throw new Error('it ends too early')
    const line = this.take(end - this.#at).toString('latin1')
    this.#at += 1
    return line
  }

  push(value: unknown): void {
    this.#stack.push(value)
  }

  pop(): unknown {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) throw new Error('it takes more from its stack than there is')
    return this.#stack.pop()
  }

  top(): unknown {
    const value = this.pop()
    this.push(value)
    return value
  }

  mark(): void {
    this.#marks.push(this.#stack.length)
  }

  popToMark(): unknown[] {
    const mark = this.#marks.pop()
    if (mark === undefined) throw new Error('it goes back to a mark that it never made')
    return this.#stack.splice(mark)
  }

  remember(index = this.#memo.size): void {
    this.#memo.set(index, this.top())
  }

  recall(index: number): void {
    if (!this.#memo.has(index)) throw new Error('it recalls what it never remembered')
    this.push(this.#memo.get(index))
  }

  global(module: unknown, name: unknown): void {
    // The text of a list that contains itself many times would be endless.
    if (typeof module !== 'string' || typeof name !== 'string') throw new Error('it asks for what has no name')
    const found = this.#globals.get(`${module}.${name}`)
    // The name is not shown: if the file is not a pickle, it is its first lines.
    if (found === undefined) throw new Error('it asks for something that is not called here')
    this.push(found)
  }
}

type Operation = (machine: Machine) => void

const STOP = 0x2e
const EMPTY_DICT = 0x7d
const DICT = 0x64
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

const text =
  (length: 1 | 4 | 8): Operation =>
  (machine) =>
    machine.push(utf8.decode(machine.take(machine.unsigned(length))))
const bytes =
  (length: 1 | 4 | 8): Operation =>
  (machine) =>
    machine.push(Buffer.from(machine.take(machine.unsigned(length))))
const number =
  (size: 1 | 2 | 4): Operation =>
  (machine) =>
    machine.push(machine.unsigned(size))

const long =
  (length: 1 | 4): Operation =>
  (machine) => {
    const digits = Buffer.from(machine.take(machine.unsigned(length))).reverse()
    machine.push(digits.length === 0 ? 0n : BigInt.asIntN(8 * digits.length, BigInt(`0x${digits.toString('hex')}`)))
  }

const tuple =
  (length: 0 | 1 | 2 | 3): Operation =>
  (machine) => {
    machine.push(Array.from({ length }, () => machine.pop()).reverse())
  }

/** Protocol 0 writes booleans as `I00` and `I01`. */
function readInt(machine: Machine): void {
  const line = machine.line()
  if (line === '00' || line === '01') machine.push(line === '01')
  else machine.push(decimal(line))
}

function decimal(line: string): number {
  if (!/^-?\d{1,15}L?$/.test(line)) throw new Error('it has an invalid number')
  return Number.parseInt(line, 10)
}

/** Python's raw-unicode-escape: Latin-1 with `\u` and `\U`. */
function readUnicode(machine: Machine): void {
  const escaped = /\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g
  machine.push(
    machine
      .line()
      .replace(escaped, (_, short?: string, long?: string) =>
        String.fromCodePoint(Number.parseInt(short ?? long ?? '', 16)),
      ),
  )
}

function appendItems(machine: Machine, items: readonly unknown[]): void {
  const list = machine.top()
  if (!Array.isArray(list)) throw new Error('it appends to a value that is not a list')
  for (const item of items) list.push(item)
}

function setItems(machine: Machine, items: readonly unknown[]): void {
  const dict = machine.top()
  if (!(dict instanceof Map) || items.length % 2 !== 0) throw new Error('it sets items of a value that is not a dict')
  for (let at = 0; at < items.length; at += 2) dict.set(items[at], items[at + 1])
}

function dictFromMark(machine: Machine): void {
  const items = machine.popToMark()
  machine.push(new Map())
  setItems(machine, items)
}

/** REDUCE and NEWOBJ: both call a global with a tuple. */
function call(machine: Machine): void {
  const args = machine.pop()
  const callee = machine.pop()
  if (!(callee instanceof Global) || !Array.isArray(args)) throw new Error('it calls what cannot be called')
  machine.push(callee.call(args))
}

/** Sets the attributes without a copy: many objects may share a large dict. */
function build(machine: Machine): void {
  const state = machine.pop()
  const object = machine.top()
  if (!(object instanceof PickledObject) || !(state instanceof Map)) throw new Error('it builds what cannot be built')
  object.attributes = state
}

/** The operations by opcode, with the names of Python's `pickletools`. */
const operations: ReadonlyMap<number, Operation> = new Map<number, Operation>(
  Object.entries({
    // PROTO, FRAME
    '\x80': (machine) => {
      const protocol = machine.byte()
      if (protocol > PROTOCOL) throw new Error(`it has the protocol ${protocol}, and only ${PROTOCOL} are known`)
    },
    '\x95': (machine) => machine.take(8),
    // MARK, POP, POP_MARK, DUP
    '(': (machine) => machine.mark(),
    '0': (machine) => machine.pop(),
    '1': (machine) => machine.popToMark(),
    '2': (machine) => machine.push(machine.top()),
    // PUT, BINPUT, LONG_BINPUT, MEMOIZE
    p: (machine) => machine.remember(decimal(machine.line())),
    q: (machine) => machine.remember(machine.unsigned(1)),
    r: (machine) => machine.remember(machine.unsigned(4)),
    '\x94': (machine) => machine.remember(),
    // GET, BINGET, LONG_BINGET
    g: (machine) => machine.recall(decimal(machine.line())),
    h: (machine) => machine.recall(machine.unsigned(1)),
    j: (machine) => machine.recall(machine.unsigned(4)),
    // NONE, NEWTRUE, NEWFALSE
    N: (machine) => machine.push(null),
    '\x88': (machine) => machine.push(true),
    '\x89': (machine) => machine.push(false),
    // INT, BININT, BININT1, BININT2, LONG, LONG1, LONG4, FLOAT, BINFLOAT
    I: readInt,
    J: (machine) => machine.push(machine.take(4).readInt32LE()),
    K: number(1),
    M: number(2),
    L: (machine) => machine.push(decimal(machine.line())),
    '\x8a': long(1),
    '\x8b': long(4),
    F: (machine) => machine.push(Number(machine.line())),
    G: (machine) => machine.push(machine.take(8).readDoubleBE()),
    // UNICODE, BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
    V: readUnicode,
    X: text(4),
    '\x8c': text(1),
    '\x8d': text(8),
    // BINBYTES, SHORT_BINBYTES, BINBYTES8
    B: bytes(4),
    C: bytes(1),
    '\x8e': bytes(8),
    // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
    ')': tuple(0),
    '\x85': tuple(1),
    '\x86': tuple(2),
    '\x87': tuple(3),
    t: (machine) => machine.push(machine.popToMark()),
    // EMPTY_LIST, LIST, APPEND, APPENDS
    ']': (machine) => machine.push([]),
    l: (machine) => machine.push(machine.popToMark()),
    a: (machine) => appendItems(machine, [machine.pop()]),
    e: (machine) => appendItems(machine, machine.popToMark()),
    // EMPTY_DICT, DICT, SETITEM, SETITEMS
    '}': (machine) => machine.push(new Map()),
    d: dictFromMark,
    s: (machine) => setItems(machine, [machine.pop(), machine.pop()].reverse()),
    u: (machine) => setItems(machine, machine.popToMark()),
    // GLOBAL, STACK_GLOBAL, REDUCE, NEWOBJ, BUILD
    c: (machine) => machine.global(machine.line(), machine.line()),
    '\x93': (machine) => {
      const name = machine.pop()
      machine.global(machine.pop(), name)
    },
    R: call,
    '\x81': call,
    b: build,
  } satisfies Record<string, Operation>).map(([opcode, operation]) => [opcode.charCodeAt(0), operation]),
)
