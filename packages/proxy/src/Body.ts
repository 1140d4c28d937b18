/**
 * What a request carries upstream, told apart by whether it can be sent a second time.
 *
 * **Details** Only `Empty` and `Replayable` bodies may be sent again after bytes of them have left; a `OneShot` body may
 * be retried only when none has. The distinction is in the type so that a retry policy can ask for it.
 *
 * @since 0.1.0
 */
import type * as Fields from "@sluice/core/Fields"
import type { Readable } from "node:stream"

/**
 * No body: neither `Content-Length` nor `Transfer-Encoding` is sent, unless `contentLength` is 0 because the client said so.
 *
 * @category models
 * @since 0.1.0
 */
export interface Empty {
  readonly _tag: "Empty"
  /** Whether the client sent `Content-Length: 0`; it is relayed then. */
  readonly explicit: boolean
}

/**
 * A body held in memory.
 *
 * @category models
 * @since 0.1.0
 */
export interface Replayable {
  readonly _tag: "Replayable"
  readonly bytes: Uint8Array
}

/**
 * A body that flows through once.
 *
 * @category models
 * @since 0.1.0
 */
export interface OneShot {
  readonly _tag: "OneShot"
  readonly stream: Readable
  /** In bytes; `undefined` sends it chunked. */
  readonly contentLength: number | undefined
  /** The fields to send after a chunked body, asked for once the stream has ended. @default none */
  readonly trailers?: () => Fields.Fields
}

/**
 * A request body.
 *
 * @category models
 * @since 0.1.0
 */
export type Body = Empty | Replayable | OneShot

/**
 * No body and no framing field.
 *
 * @category constructors
 * @since 0.1.0
 */
export const empty: Empty = { _tag: "Empty", explicit: false }

/**
 * No body, said with `Content-Length: 0`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const zeroLength: Empty = { _tag: "Empty", explicit: true }

/**
 * A body from bytes, sent with their `Content-Length`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const replayable = (bytes: Uint8Array): Replayable => ({ _tag: "Replayable", bytes })

/**
 * A body from a Node stream, sent with `contentLength` (bytes) or, without it, chunked.
 *
 * @category constructors
 * @since 0.1.0
 */
export const oneShot = (stream: Readable, contentLength?: number): OneShot => ({
  _tag: "OneShot",
  stream,
  contentLength
})
