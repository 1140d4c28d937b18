/**
 * One end of a socket in the hands of a test: it sends any bytes, and reads exactly what came.
 *
 * **When to use** `RawClient` and `RawServer` make them. They show what an HTTP client hides: the order and case of fields,
 * how a body is framed, whether it ended, and whether the connection was closed (FIN) or reset (RST).
 *
 * **Details** Nothing here sleeps or looks at a clock: every wait ends with the event it waits for, or with the
 * connection. Texts are Latin-1, so each character is one byte.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type { Socket } from "node:net"
import * as Fields from "../Fields.ts"
import { type Body, type Framing, type Head, parseBody, parseHead } from "../internal/rawMessage.ts"

/**
 * How the peer ended its side: in order (FIN), or by a reset (RST).
 *
 * @category models
 * @since 0.1.0
 */
export type Ending = "FIN" | "RST"

/**
 * The connection ended before what was waited for came.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionLost extends Data.TaggedError("ConnectionLost")<{
  readonly ending: Ending
  /** What came and was not read. */
  readonly unread: string
}> {
  override get message(): string {
    return `the connection ended (${this.ending}) with ${this.unread.length} bytes unread: ${this.unread.slice(0, 200)}`
  }
}

/**
 * What requests and responses have in common.
 *
 * @category models
 * @since 0.1.0
 */
export interface RawMessage {
  /** The first line, as it came. */
  readonly startLine: string
  /** The fields in the order, case and number in which they came. */
  readonly fields: Fields.Fields
  /** The first value of a field. */
  readonly get: (name: string) => string | undefined
  /** The body without its chunking. */
  readonly body: Buffer
  /** The body as text (UTF-8). */
  readonly text: string
  /** The fields after a chunked body. */
  readonly trailers: Fields.Fields
  /** How the end of the body is known. */
  readonly framing: Framing["_tag"]
  /** Whether the body came whole. One that lasts until the connection closes is whole when that was a FIN. */
  readonly complete: boolean
}

/**
 * A response as it came.
 *
 * @category models
 * @since 0.1.0
 */
export interface RawResponse extends RawMessage {
  readonly version: string
  readonly status: number
  readonly reason: string
  /** The 1xx responses before it. */
  readonly informational: ReadonlyArray<{ readonly status: number; readonly fields: Fields.Fields }>
}

/**
 * A request as it came.
 *
 * @category models
 * @since 0.1.0
 */
export interface RawRequest extends RawMessage {
  readonly method: string
  readonly target: string
  readonly version: string
}

/**
 * One end of a connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface RawConnection {
  /** Sends bytes as they are; done when the operating system has taken them. */
  readonly send: (bytes: string | Uint8Array) => Effect.Effect<void, ConnectionLost>
  /** {@link RawConnection.send} and {@link RawConnection.response} in one; knows that a response to HEAD has no body. */
  readonly request: (bytes: string | Uint8Array) => Effect.Effect<RawResponse, ConnectionLost>
  /** Reads the next response. One that is cut off is not an error but not `complete`. */
  readonly response: (options?: { readonly toHead?: boolean }) => Effect.Effect<RawResponse, ConnectionLost>
  /** Reads the head of the next response and leaves its body to be read. */
  readonly responseHead: Effect.Effect<RawResponse, ConnectionLost>
  /** Reads the next request. */
  readonly nextRequest: Effect.Effect<RawRequest, ConnectionLost>
  /** Reads the head of the next request and leaves its body to be read. */
  readonly nextRequestHead: Effect.Effect<RawRequest, ConnectionLost>
  /** Reads until the text is in what came, or it matches, and returns what came up to the end of that. */
  readonly read: (until: string | RegExp) => Effect.Effect<string, ConnectionLost>
  /** Waits for the peer's end, and returns how it came and what was not read. */
  readonly ended: Effect.Effect<{ readonly ending: Ending; readonly unread: string }>
  /** Ends this side in order (FIN); what the peer still sends can be read. */
  readonly end: Effect.Effect<void>
  /** Resets the connection (RST). */
  readonly reset: Effect.Effect<void>
  /** For what the rest doesn't cover, such as `pause()`. */
  readonly socket: Socket
}

/** What an attempt to read found: a value and how many bytes it took. */
type Attempt<A> = (received: Buffer, ended: boolean) => readonly [value: A, used: number] | undefined

/**
 * Takes over a connected socket.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromSocket = (socket: Socket): RawConnection => {
  let received = Buffer.alloc(0)
  let ending: Ending | undefined
  const waiting = new Set<() => void>()
  const wake = () => [...waiting].forEach((look) => look())
  const finish = (how: Ending) => () => {
    ending ??= how
    wake()
  }
  socket.on("data", (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
    wake()
  })
  socket.on("end", finish("FIN"))
  socket.on("error", finish("RST"))
  socket.on("close", finish("FIN"))

  const lost = () => new ConnectionLost({ ending: ending ?? "RST", unread: received.toString("latin1") })

  const take = <A>(attempt: Attempt<A>): Effect.Effect<A, ConnectionLost> =>
    Effect.callback((resume) => {
      const look = () => {
        const found = attempt(received, ending !== undefined)
        if (found === undefined && ending === undefined) return
        waiting.delete(look)
        if (found === undefined) return resume(Effect.fail(lost()))
        received = received.subarray(found[1])
        resume(Effect.succeed(found[0]))
      }
      waiting.add(look)
      look()
      return Effect.sync(() => waiting.delete(look))
    })

  const send = (bytes: string | Uint8Array): Effect.Effect<void, ConnectionLost> =>
    Effect.callback((resume) => {
      const written = (error?: Error | null) => resume(error ? Effect.fail(lost()) : Effect.void)
      if (typeof bytes === "string") socket.write(bytes, "latin1", written)
      else socket.write(bytes, written)
    })

  const response = (options: { readonly toHead?: boolean } = {}) =>
    take((bytes, ended) => readResponse(bytes, ended, options.toHead === true))

  return {
    send,
    request: (bytes) => {
      const toHead = Buffer.from(bytes.slice(0, 5)).toString("latin1") === "HEAD "
      return Effect.andThen(send(bytes), response({ toHead }))
    },
    response,
    responseHead: take((bytes) => readResponse(bytes, true, true)),
    nextRequest: take((bytes) => readRequest(bytes, false)),
    nextRequestHead: take((bytes) => readRequest(bytes, true)),
    read: (until) =>
      take((bytes) => {
        const text = bytes.toString("latin1")
        const end = typeof until === "string" ? endOf(text, until) : endOfMatch(text, until)
        return end === -1 ? undefined : [text.slice(0, end), end]
      }),
    ended: Effect.orDie(take((bytes, ended) => {
      if (!ended || ending === undefined) return undefined
      return [{ ending, unread: bytes.toString("latin1") }, bytes.length]
    })),
    end: Effect.sync(() => {
      socket.end()
    }),
    reset: Effect.sync(() => {
      socket.resetAndDestroy()
    }),
    socket
  }
}

const endOf = (text: string, part: string): number => {
  const at = text.indexOf(part)
  return at === -1 ? -1 : at + part.length
}

const endOfMatch = (text: string, pattern: RegExp): number => {
  const match = pattern.exec(text)
  return match === null ? -1 : match.index + match[0].length
}

const message = (head: Head, framing: Framing, body: Body): RawMessage => ({
  startLine: head.startLine,
  fields: head.fields,
  get: (name) => Fields.get(head.fields, name),
  body: body.bytes,
  text: body.bytes.toString("utf8"),
  trailers: body.trailers,
  framing: framing._tag,
  complete: body.complete
})

const statusLine = /^HTTP\/(\d\.\d) (\d{3}) ?(.*)$/

const readResponse = (
  bytes: Buffer,
  ended: boolean,
  headOnly: boolean
): readonly [RawResponse, number] | undefined => {
  const informational: Array<{ readonly status: number; readonly fields: Fields.Fields }> = []
  for (let start = 0;;) {
    const head = parseHead(bytes.subarray(start))
    const [, version, code, reason] = statusLine.exec(head?.startLine ?? "") ?? []
    if (head === undefined || version === undefined) return undefined
    const status = Number(code)
    if (status < 200 && status !== 101) {
      informational.push({ status, fields: head.fields })
      start += head.end
      continue
    }
    const framing: Framing = headOnly || status === 101 ? { _tag: "None" } : responseFraming(status, head.fields)
    const body = parseBody(bytes, start + head.end, framing)
    if (!body.complete && !ended) return undefined
    const whole = framing._tag === "Close" ? { ...body, complete: true } : body
    return [{ ...message(head, framing, whole), version, status, reason, informational }, body.end]
  }
}

const readRequest = (bytes: Buffer, headOnly: boolean): readonly [RawRequest, number] | undefined => {
  const head = parseHead(bytes)
  if (head === undefined) return undefined
  const framing: Framing = headOnly ? { _tag: "None" } : framingOf(head.fields) ?? { _tag: "None" }
  const body = parseBody(bytes, head.end, framing)
  if (!body.complete) return undefined
  const [method, target, version = ""] = head.startLine.split(" ")
  return [{ ...message(head, framing, body), method, target, version: version.replace("HTTP/", "") }, body.end]
}

const responseFraming = (status: number, fields: Fields.Fields): Framing =>
  status === 204 || status === 304 ? { _tag: "None" } : framingOf(fields) ?? { _tag: "Close" }

const framingOf = (fields: Fields.Fields): Framing | undefined => {
  if (Fields.tokens(fields, "transfer-encoding").includes("chunked")) return { _tag: "Chunked" }
  const length = Fields.get(fields, "content-length")
  return length === undefined ? undefined : { _tag: "Length", bytes: Number(length) }
}
