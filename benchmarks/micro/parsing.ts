/** Our parser of responses beside Node's. */
import * as BodyReader from "../../packages/proxy/src/internal/http1/bodyReader.ts"
import { FieldParser } from "../../packages/proxy/src/internal/http1/fieldParser.ts"
import { framing } from "../../packages/proxy/src/internal/http1/framing.ts"
import type { Case } from "../micro.ts"
import * as NodeParser from "./nodeParser.ts"

/** What `Http1` has by default. */
const limits = { bytes: 65_536, fields: 100 }

const head = (...fields: ReadonlyArray<string>): Buffer =>
  Buffer.from(["HTTP/1.1 200 OK", ...fields, "", ""].join("\r\n"), "latin1")

const small = head("Server: origin", "Content-Type: text/plain", "Content-Length: 0")

const usual = head(
  "Server: nginx",
  "Date: Fri, 20 Nov 2026 12:00:00 GMT",
  "Content-Type: application/json; charset=utf-8",
  "Content-Length: 0",
  "Connection: keep-alive",
  "Cache-Control: private, max-age=0, must-revalidate",
  "ETag: W/\"5f2-9XLTlvrpIGYocU+yzgD3LpTyJY8\"",
  "Vary: Accept-Encoding, Origin",
  "Strict-Transport-Security: max-age=31536000; includeSubDomains",
  "X-Request-Id: 01a1fa6d-3740-7907-834c-a3270eeafbd5",
  "Set-Cookie: session=8f14e45fceea167a5a36dedd4bea2543; Path=/; HttpOnly; Secure; SameSite=Lax",
  "X-Content-Type-Options: nosniff"
)

const cut = (bytes: Buffer, size: number): ReadonlyArray<Buffer> =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size))

const parser = new FieldParser(limits, true)
const node = NodeParser.make()

/** Parses a head in pieces, finds out what frames the body, and says how long that is. */
const readHead = (pieces: ReadonlyArray<Buffer>): number => {
  parser.reset()
  for (const piece of pieces) {
    if (parser.parse(piece, 0) < 0) continue
    const frame = framing("GET", parser.status, parser.httpVersion, parser.fields)
    if (typeof frame !== "string") return frame.length ?? -1
  }
  throw new Error("the head was not complete")
}

const heads = (name: string, pieces: ReadonlyArray<Buffer>): ReadonlyArray<Case> => [
  { name: `${name}: ours, with its framing`, run: () => readHead(pieces) },
  { name: `${name}: Node's`, run: () => node.parse(pieces) }
]

/** A body of `count` chunks of `size` bytes. */
const chunked = (count: number, size: number): Buffer =>
  Buffer.from(`${`${size.toString(16)}\r\n${"x".repeat(size)}\r\n`.repeat(count)}0\r\n\r\n`, "latin1")

const readBody = (pieces: ReadonlyArray<Buffer>): number => {
  const reader = BodyReader.make(
    { length: undefined, chunked: true, persistent: true, keepAliveTimeout: undefined, upgrade: undefined },
    limits
  )
  let bytes = 0
  for (const piece of pieces) {
    let at = 0
    while (true) {
      const found = reader.next(piece, at)
      at = reader.at
      if (found === "data") bytes += piece.subarray(reader.start, reader.end).length
      else if (found === "end") return bytes
      else if (found === "more") break
      else throw new Error(found)
    }
  }
  throw new Error("the body was not complete")
}

/** A read of a socket takes at most so many bytes. */
const read = 65_536

const bodies = (name: string, count: number, size: number): ReadonlyArray<Case> => {
  const body = chunked(count, size)
  const whole = Buffer.concat([head("Transfer-Encoding: chunked"), body])
  const [ours, theirs] = [cut(body, read), cut(whole, read)]
  return [
    { name: `${name}: ours`, run: () => readBody(ours) },
    { name: `${name}: Node's, with a head`, run: () => node.parse(theirs) }
  ]
}

export const parsing: ReadonlyArray<Case> = [
  ...heads("response head of 3 fields", [small]),
  ...heads("response head of 12 fields", [usual]),
  ...heads("the same in pieces of 100 bytes", cut(usual, 100)),
  ...bodies("64 KiB in chunks of 16 KiB", 4, 16_384),
  ...bodies("64 KiB in chunks of 1 KiB", 64, 1024),
  ...bodies("4 KiB in chunks of 32 bytes", 128, 32)
]
