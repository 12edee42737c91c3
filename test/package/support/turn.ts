import { afterEach } from 'vitest'

/**
 * A turn of the event loop behind each test. These tests run other programs and wait for them with the loop stopped; on a
 * slow machine vitest's own messages, which need the loop, would otherwise find no answer within their minute.
 */
afterEach(() => new Promise((resolve) => setImmediate(resolve)))
