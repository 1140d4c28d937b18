/**
 * Writes that wait for the end of a turn of the event loop. A peer is woken up once for many of them, and while it is awake
 * the system has less to do for each.
 */

/** What waits. It may be given up while it does. */
export interface Waiting {
  flush(): void
}

let queue: Array<Waiting> = []

/** Has it flushed once the sockets that are readable in this turn were read. */
export const flushAtEndOfTurn = (waiting: Waiting): void => {
  if (queue.push(waiting) === 1) setImmediate(flushAll)
}

const flushAll = (): void => {
  const waiting = queue
  queue = []
  for (const one of waiting) one.flush()
}
