interface Item<A> {
  readonly value: A
  readonly size: number
  readonly expires: number
}

/** Bounds of an {@link Lru}. */
export interface Bounds {
  readonly maxEntries: number
  readonly maxBytes: number
}

/** Values by key with an end of life, within bounds: the one that was used longest ago goes first. */
export class Lru<A> {
  private readonly items = new Map<string, Item<A>>()
  private readonly bounds: Bounds
  private readonly onRemove: (key: string, value: A) => void
  private bytes = 0

  constructor(bounds: Bounds, onRemove: (key: string, value: A) => void = () => {}) {
    this.bounds = bounds
    this.onRemove = onRemove
  }

  get size(): number {
    return this.items.size
  }

  /** The value, which is then the one that was used last. */
  get(key: string, now: number): A | undefined {
    const item = this.items.get(key)
    if (item === undefined) return undefined
    if (item.expires <= now) {
      this.delete(key)
      return undefined
    }
    this.items.delete(key)
    this.items.set(key, item)
    return item.value
  }

  /** Keeps a value of about `size` bytes until `expires`; one that is larger than all the room there is is not kept. */
  set(key: string, value: A, size: number, expires: number): void {
    this.delete(key)
    if (size > this.bounds.maxBytes) return
    this.items.set(key, { value, size, expires })
    this.bytes += size
    for (const oldest of this.items.keys()) {
      if (this.items.size <= this.bounds.maxEntries && this.bytes <= this.bounds.maxBytes) return
      this.delete(oldest)
    }
  }

  delete(key: string): void {
    const item = this.items.get(key)
    if (item === undefined) return
    this.items.delete(key)
    this.bytes -= item.size
    this.onRemove(key, item.value)
  }
}
