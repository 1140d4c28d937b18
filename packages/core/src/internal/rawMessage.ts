import type * as Fields from "../Fields.ts"

/** The head of a message as it stands in received bytes. */
export interface Head {
  readonly startLine: string
  readonly fields: Fields.Fields
  /** Where the body begins. */
  readonly end: number
}

/** How the end of a body is known (RFC 9112, 6.3). */
export type Framing =
  | { readonly _tag: "None" }
  | { readonly _tag: "Length"; readonly bytes: number }
  | { readonly _tag: "Chunked" }
  | { readonly _tag: "Close" }

/** What could be read of a body. */
export interface Body {
  readonly bytes: Buffer
  readonly trailers: Fields.Fields
  readonly complete: boolean
  /** Where the next message begins. */
  readonly end: number
}

/** The first head in the bytes; `undefined` while it is not whole. */
export const parseHead = (bytes: Buffer): Head | undefined => {
  const end = bytes.indexOf("\r\n\r\n")
  if (end === -1) return undefined
  const [startLine, ...lines] = bytes.toString("latin1", 0, end).split("\r\n")
  return { startLine, fields: lines.flatMap(parseField), end: end + 4 }
}

const parseField = (line: string): Fields.Fields => {
  const colon = line.indexOf(":")
  return colon === -1 ? [line, ""] : [line.slice(0, colon), line.slice(colon + 1).trim()]
}

/** The body that begins at `start`; incomplete when the bytes end before it does. */
export const parseBody = (bytes: Buffer, start: number, framing: Framing): Body => {
  switch (framing._tag) {
    case "None":
      return { bytes: Buffer.alloc(0), trailers: [], complete: true, end: start }
    case "Close":
      return { bytes: bytes.subarray(start), trailers: [], complete: false, end: bytes.length }
    case "Length": {
      const end = Math.min(bytes.length, start + framing.bytes)
      return { bytes: bytes.subarray(start, end), trailers: [], complete: end - start === framing.bytes, end }
    }
    case "Chunked":
      return parseChunks(bytes, start)
  }
}

const parseChunks = (bytes: Buffer, start: number): Body => {
  const chunks: Array<Buffer> = []
  let at = start
  for (;;) {
    const line = bytes.indexOf("\r\n", at)
    const size = line === -1 ? Number.NaN : Number.parseInt(bytes.toString("latin1", at, line), 16)
    if (Number.isNaN(size)) return incomplete(chunks, bytes)
    if (size === 0) return parseTrailers(chunks, bytes, line)
    chunks.push(bytes.subarray(line + 2, line + 2 + size))
    at = line + 2 + size + 2
    if (at > bytes.length) return incomplete(chunks, bytes)
  }
}

const parseTrailers = (chunks: ReadonlyArray<Buffer>, bytes: Buffer, line: number): Body => {
  const end = bytes.indexOf("\r\n\r\n", line)
  if (end === -1) return incomplete(chunks, bytes)
  const lines = bytes.toString("latin1", line + 2, end).split("\r\n").filter((one) => one !== "")
  return { bytes: Buffer.concat(chunks), trailers: lines.flatMap(parseField), complete: true, end: end + 4 }
}

const incomplete = (chunks: ReadonlyArray<Buffer>, bytes: Buffer): Body => ({
  bytes: Buffer.concat(chunks),
  trailers: [],
  complete: false,
  end: bytes.length
})
