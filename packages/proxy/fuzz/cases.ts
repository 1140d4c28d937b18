/** What a case is. The same shape is a file of the corpus. Texts are Latin-1: each character is one byte. */

/** What the sender does after its last byte: waits, ends in order, or resets. */
export type Ending = "open" | "fin" | "rst"

/** An upstream that answers one request with these bytes. */
export interface ResponseCase {
  readonly kind: "response"
  readonly description: string
  readonly method: "GET" | "HEAD" | "POST"
  /** The client's version. */
  readonly version: "1.0" | "1.1"
  /** Written one after the other, each in a turn of the event loop of its own. */
  readonly writes: ReadonlyArray<string>
  readonly ending: Ending
}

/** A client that sends these bytes; the upstream behaves. */
export interface RequestCase {
  readonly kind: "request"
  readonly description: string
  readonly writes: ReadonlyArray<string>
  readonly ending: Ending
}

export type Case = ResponseCase | RequestCase

/** What came of a case, besides what must hold for all of them. */
export interface Outcome {
  /** What must not have happened; empty when all is well. */
  readonly findings: ReadonlyArray<string>
  /** The statuses that the client saw; `aborted` when its last response was cut off or never began. */
  readonly seen: ReadonlyArray<number | "aborted">
  /** The body of the last complete response. */
  readonly body: string
  /** Method and target of each complete request that reached the upstream. */
  readonly upstream: ReadonlyArray<string>
}
