import { fork, type Serializable } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Worker } from 'node:worker_threads'
import { onTestFinished } from 'vitest'
import type { AnyClass, ClassName } from './kinds.ts'

const runner = fileURLToPath(new URL('./inside.mjs', import.meta.url))

/** The package, with the calls of its classes as any kind has them: a child gets keys and options as plain values. */
type Package = Omit<typeof import('./coffer.ts'), ClassName> & Readonly<Record<ClassName, AnyClass>>

/** What the body of a child can use besides globals: it has no imports of its own. */
export interface Inside {
  readonly coffer: Package
  readonly fs: typeof import('node:fs')
  /** Tells the test something. */
  readonly say: (message: unknown) => Promise<void>
  /** Waits for the next message of the test. */
  readonly hear: () => Promise<unknown>
  /** Starts a worker thread that runs a body given as source text; it posts `{ say }`, `{ done }`, `{ failed }`. */
  readonly worker: (source: string, args: unknown) => Worker
}

/** A body that runs elsewhere: no imports, no closures, only its parameters and globals. */
export type Body<Args, Result> = (inside: Inside, args: Args) => Promise<Result>

/** How to start a child. */
export interface ChildOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly uid?: number
  /** What Node.js itself is told. */
  readonly execArgv?: readonly string[]
  /** A command that runs Node.js: its program and first arguments, which it is to put before the rest. */
  readonly through?: readonly string[]
}

type Answer<Result> =
  | { say: unknown }
  | { done: Result }
  | { failed: { name: string; message: string; code?: string; stack?: string } }

/** A child process that runs the body of a test. */
export interface Child<Result> {
  readonly pid: number
  /** What the body returned; rejects if it threw, or if the process ended before that. */
  readonly result: Promise<Result>
  /** The next thing the body said. */
  heard(): Promise<unknown>
  /** Tells the body something. */
  say(message: Serializable): void
  /** Ends the process as a crash would, and waits until it has ended. */
  kill(): Promise<void>
}

/** Runs a body in a process of its own, which is killed if it outlives the test. */
export function startChild<Args, Result>(
  body: Body<Args, Result>,
  args: Args,
  options: ChildOptions = {},
): Child<Result> {
  const [execPath, ...execArgv] = [...(options.through ?? []), process.execPath, ...(options.execArgv ?? [])]
  const process_ = fork(runner, {
    serialization: 'advanced',
    execPath,
    execArgv,
    env: { ...process.env, NODE_OPTIONS: '', ...options.env },
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
  })
  const said: unknown[] = []
  const listeners: { resolve: (message: unknown) => void; reject: (reason: Error) => void }[] = []
  const exited = new Promise<void>((resolve) => process_.once('exit', () => resolve()))
  const result = new Promise<Result>((resolve, reject) => {
    process_.on('message', (answer: Answer<Result>) => {
      if ('say' in answer) {
        const listener = listeners.shift()
        if (listener === undefined) said.push(answer.say)
        else listener.resolve(answer.say)
      } else if ('done' in answer) {
        resolve(answer.done)
      } else {
        reject(Object.assign(new Error(answer.failed.message), answer.failed))
      }
    })
    process_.once('exit', (code, signal) => {
      const reason = new Error(`the child ended early (${signal ?? code})`)
      reject(reason)
      for (const listener of listeners.splice(0)) listener.reject(reason)
    })
  })
  result.catch(() => {})
  process_.send({ source: body.toString(), args })
  const kill = async (): Promise<void> => {
    process_.kill('SIGKILL')
    await exited
  }
  onTestFinished(kill)
  return {
    pid: process_.pid ?? -1,
    result,
    heard: async () =>
      said.length > 0 ? said.shift() : new Promise((resolve, reject) => listeners.push({ resolve, reject })),
    say: (message) => {
      process_.send(message)
    },
    kill,
  }
}

/** Runs a body in a process of its own to its end. */
export async function inChild<Args, Result>(
  body: Body<Args, Result>,
  args: Args,
  options: ChildOptions = {},
): Promise<Result> {
  return startChild(body, args, options).result
}
