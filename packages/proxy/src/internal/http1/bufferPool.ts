/**
 * Read buffers that are used again: fresh ones for every read cost as much as everything else on a busy proxy, because
 * their external memory drives major collections.
 */

/** A buffer and how many hold it; the last one to let go gives it back. */
export class Lease {
  readonly buffer: Buffer
  private readonly pool: BufferPool
  private holders = 1

  constructor(pool: BufferPool, buffer: Buffer) {
    this.pool = pool
    this.buffer = buffer
  }

  /** Whether the only holder is the connection that reads into it. */
  get sole(): boolean {
    return this.holders === 1
  }

  retain(): void {
    this.holders += 1
  }

  release(): void {
    this.holders -= 1
    if (this.holders === 0) this.pool.give(this.buffer)
  }
}

/** At most `capacity` unused buffers are kept; those beyond it are left to the collector. */
export class BufferPool {
  private readonly size: number
  private readonly capacity: number
  private readonly free: Array<Buffer> = []

  constructor(size: number, capacity: number) {
    this.size = size
    this.capacity = capacity
  }

  take(): Lease {
    return new Lease(this, this.free.pop() ?? Buffer.allocUnsafeSlow(this.size))
  }

  give(buffer: Buffer): void {
    if (this.free.length < this.capacity) this.free.push(buffer)
  }

  clear(): void {
    this.free.length = 0
  }
}

const noop = (): void => {}

/** What a consumer calls when it has taken a chunk; calling it twice does no harm. */
export const releaser = (lease: Lease | undefined): () => void => {
  if (lease === undefined) return noop
  lease.retain()
  let held = true
  return () => {
    if (!held) return
    held = false
    lease.release()
  }
}
