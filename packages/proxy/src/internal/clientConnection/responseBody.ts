/**
 * A response body between the connection, which pushes what it reads, and a stream that is pulled.
 */
import type * as Fields from "@sluice/core/Fields"
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import type * as ProxyError from "../../ProxyError.ts"

type Chunks = Arr.NonEmptyReadonlyArray<Uint8Array>
type Next = Pull.Pull<Chunks, ProxyError.Committed>

export class ResponseBody {
  readonly trailers = Deferred.makeUnsafe<Fields.Fields, ProxyError.Committed>()
  readonly stream: Stream.Stream<Uint8Array, ProxyError.Committed>

  private readonly onTaken: () => void
  private chunks: Array<Uint8Array> = []
  private ended: Effect.Effect<Fields.Fields, ProxyError.Committed> | undefined
  private end: Next | undefined
  private resume: ((next: Next) => void) | undefined
  private used = false

  constructor(onTaken: () => void) {
    this.onTaken = onTaken
    this.stream = Stream.fromPull(Effect.suspend(() => {
      if (this.used) return Effect.die(new Error("a response body can be read once"))
      this.used = true
      return Effect.succeed(this.pull)
    }))
  }

  /** Whether there is something that nobody has taken yet. */
  get full(): boolean {
    return this.chunks.length > 0
  }

  push(chunk: Uint8Array): void {
    this.chunks.push(chunk)
  }

  succeed(trailers: Fields.Fields): void {
    this.ended = Effect.succeed(trailers)
    this.end = Cause.done()
  }

  /** What has come before is still handed on. */
  fail(error: ProxyError.Committed): void {
    this.end = this.ended = Effect.fail(error)
  }

  /** Wakes those who wait for what has come. */
  flush(): void {
    if (this.ended !== undefined) Deferred.doneUnsafe(this.trailers, this.ended)
    const resume = this.resume
    const next = resume === undefined ? undefined : this.next()
    if (next === undefined) return
    this.resume = undefined
    resume?.(next)
  }

  private readonly pull: Next = Effect.suspend(() => this.next() ?? this.wait)

  private readonly wait: Next = Effect.callback((resume) => {
    this.resume = resume
    return Effect.sync(() => {
      this.resume = undefined
    })
  })

  private next(): Next | undefined {
    const chunks = this.chunks
    if (chunks.length === 0) return this.end
    this.chunks = []
    this.onTaken()
    // Sound: it was looked at just now.
    return Effect.succeed(chunks as unknown as Chunks)
  }
}
