/** Makes responses and requests that are mostly right, and then damages them. */
import type { Ending, RequestCase, ResponseCase } from "./cases.ts"
import { mutate, split } from "./mutate.ts"
import type { Random } from "./random.ts"

const crlf = "\r\n"

/** Bytes that tell when they end up in the wrong place: a whole response and a whole request among them. */
const content = (random: Random): string => {
  const kind = random.below(8)
  if (kind === 0) return ""
  if (kind === 1) return "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"
  if (kind === 2) return "GET /smuggled HTTP/1.1\r\nHost: evil.test\r\n\r\n"
  if (kind === 3) return "0\r\n\r\n"
  if (kind === 4) return "x".repeat(random.pick([1, 1000, 16_384, 65_536, 70_000, 200_000]))
  return Array.from({ length: random.below(40) }, () => String.fromCharCode(random.below(256))).join("")
}

const extensions = ["", "", "", "", ";a", ";a=b", ";a=\"b;c\"", ";", " ;a", ";a=\"\n\"", ";\rX"]
const sizes = [(n: number) => `0${n.toString(16)}`, (n: number) => `0x${n.toString(16)}`, (n: number) => `${n + 1}`]
const lastChunks = ["0\r\n\r\n", "0\r\nX-Sum: 1\r\n\r\n", "000\r\n\r\n", "0;end\r\n\r\n"]
const badLastChunks = ["", "0\r\n", "0", "0\n\n", "0\r\nContent-Length: 3\r\n\r\n", "0\r\n X: 1\r\n\r\n", "-1\r\n\r\n"]

const chunk = (random: Random, data: string): string => {
  const size = random.chance(0.03) ? random.pick(sizes)(data.length) : data.length.toString(16)
  const extension = random.chance(0.2) ? random.pick(extensions) : ""
  const end = random.chance(0.02) ? random.pick(["", "\n", "\r", " \r\n"]) : crlf
  return `${size}${extension}${crlf}${data}${end}`
}

const chunked = (random: Random, body: string): string => {
  const pieces = split(random, body).map((piece) => chunk(random, piece))
  return pieces.join("") + random.pick(random.chance(0.8) ? lastChunks : badLastChunks)
}

const oddLengths = [
  "+3",
  "-1",
  "0x3",
  "3, 3",
  "3 3",
  "",
  "03",
  "18446744073709551617",
  "1e1",
  "3;",
  "\xb2",
  "9007199254740993"
]
const oddCodings = [
  "xchunked",
  "identity",
  "gzip, chunked",
  "chunked, gzip",
  "chunked, chunked",
  "",
  "CHUNKED",
  "\x0bchunked",
  "chunked;q=1"
]

interface Framed {
  readonly fields: ReadonlyArray<string>
  readonly body: string
}

/** A body with the fields that frame it; wrongly in one of five. */
const framed = (random: Random, body: string): Framed => {
  const right = `Content-Length: ${body.length}`
  switch (random.below(20)) {
    case 0:
      return { fields: [right, "Transfer-Encoding: chunked"], body: chunked(random, body) }
    case 1:
      return { fields: [right, random.chance(0.5) ? right : `Content-Length: ${body.length + 1}`], body }
    case 2:
      return { fields: [`Content-Length: ${random.pick(oddLengths)}`], body }
    case 3:
      return { fields: [`Transfer-Encoding: ${random.pick(oddCodings)}`], body: chunked(random, body) }
    case 4:
      return { fields: [`Content-Length: ${Math.max(0, body.length + random.pick([-1, 1, 5]))}`], body }
    case 5:
    case 6:
      return { fields: [], body }
    case 7:
      return { fields: [random.pick(["Content_Length: 3", "Content-Length : 3", "Transfer_Encoding: chunked"])], body }
    default:
      return random.chance(0.5)
        ? { fields: [right], body }
        : { fields: ["Transfer-Encoding: chunked"], body: chunked(random, body) }
  }
}

const commonFields = [
  "Content-Type: text/plain",
  "Content-Encoding: gzip",
  "Set-Cookie: a=1; path=/; odd",
  "Set-Cookie: b=2",
  "Connection: close",
  "Connection: keep-alive",
  "Connection: X-Gone, close",
  "Keep-Alive: timeout=5",
  "X-Gone: 1",
  "X-Latin: caf\xe9",
  "X-Empty:",
  "Upgrade: websocket",
  "Trailer: X-Sum",
  "TE: trailers",
  "Via: 1.1 other",
  "Date: Thu, 01 Jan 1970 00:00:00 GMT",
  "ETag: \"1\""
]

const oddFields = [
  "X-Fold: a\r\n b",
  "X-Space : 1",
  "NoColon",
  ": empty",
  "X-Nul: a\0b",
  "X-Bare: a\rb",
  "X-Lf: a\nX-Next: b",
  "X (name): 1",
  " X-Leading: 1",
  "Connection: content-length, transfer-encoding",
  "Connection: Upgrade",
  "__proto__: 1",
  "constructor: 1"
]

const fields = (random: Random): ReadonlyArray<string> => {
  const common = Array.from({ length: random.below(5) }, () => random.pick(commonFields))
  if (random.chance(0.01)) return [...common, `X-Long: ${"y".repeat(random.pick([17_000, 70_000]))}`]
  return random.chance(0.1) ? [...common, random.pick(oddFields)] : common
}

const statusLines = [204, 205, 206, 301, 304, 404, 500, 502].map((status) => `HTTP/1.1 ${status} Some`)
const oddStatusLines = [
  "HTTP/1.1 99 Low",
  "HTTP/1.1 888 High",
  "HTTP/1.1 1000 Long",
  "HTTP/1.1 200",
  "HTTP/1.1  200 OK",
  "HTTP/1.1 200 caf\xe9",
  "HTTP/2.0 200 OK",
  "HTTP/2 200",
  "http/1.1 200 OK",
  "ICY 200 OK",
  "",
  "HTTP/1.1 101 Switching",
  "HTTP/1.1 20 OK"
]

const statusLine = (random: Random): string => {
  const kind = random.below(20)
  if (kind === 0) return random.pick(oddStatusLines)
  if (kind <= 3) return random.pick(statusLines)
  return kind === 4 ? "HTTP/1.0 200 OK" : "HTTP/1.1 200 OK"
}

const interims = [
  "HTTP/1.1 100 Continue",
  "HTTP/1.1 103 Early Hints\r\nLink: </a>",
  "HTTP/1.1 102 Processing",
  "HTTP/1.1 150 Odd"
]

const oneResponse = (random: Random): string => {
  const { body, fields: framing } = framed(random, content(random))
  const all = random.chance(0.5) ? [...fields(random), ...framing] : [...framing, ...fields(random)]
  return [statusLine(random), ...all, "", body].join(crlf)
}

const ending = (random: Random): Ending => random.chance(0.55) ? "open" : random.chance(0.7) ? "fin" : "rst"

/** A response as an upstream might send it, with what may come before and after it. */
export const response = (random: Random): ResponseCase => {
  const before = random.chance(0.1) ? `${random.pick(interims)}\r\n\r\n` : ""
  const after = random.chance(0.1)
    ? random.pick(["x", crlf, "0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"])
    : ""
  const text = mutate(random, before + oneResponse(random) + after)
  return {
    kind: "response",
    description: "generated",
    method: random.pick(["GET", "GET", "GET", "GET", "HEAD", "POST"]),
    version: random.chance(0.1) ? "1.0" : "1.1",
    writes: split(random, text),
    ending: ending(random)
  }
}

const methods = ["GET", "GET", "POST", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"]
const oddMethods = ["get", "CONNECT", "TRACE", "PROPFIND", "G ET", "QUERY", "PRI", ""]
const targets = ["/a", "/a?b=c", "/a//b", "/%2e%2e/x", "/a/../b", "/\xe9", "http://shop.test/abs", "/a;b", "//x"]
const oddTargets = [
  "*",
  "a",
  "/a b",
  "/a#b",
  "http://",
  "http://other.test/x",
  "/\0",
  "shop.test:80",
  "http://u@shop.test/",
  "/%"
]
const versions = ["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/1.1 ", "http/1.1", ""]
const hosts = ["Host: other.test", "Host: a/b", "Host: a b", "Host:", "Host: u@a", "Host: [::1"]
const requestFields = [
  "Expect: 100-continue",
  "Expect: other",
  "Connection: Upgrade",
  "TE: trailers, chunked",
  "X-Forwarded-For: 1",
  "Proxy-Connection: keep-alive",
  "Connection: host, te, cookie",
  "Max-Forwards: 0"
]

const rarely = <A>(random: Random, usual: ReadonlyArray<A>, odd: ReadonlyArray<A>): A =>
  random.pick(random.chance(0.05) ? odd : usual)

const oneRequest = (random: Random, tag: string): string => {
  const method = rarely(random, methods, oddMethods)
  const target = rarely(random, targets, oddTargets)
  const line = `${method} ${target === "*" ? target : `${target}${tag}`} ${rarely(random, ["HTTP/1.1"], versions)}`
  const host = random.chance(0.03)
    ? random.pick([[], ["Host: shop.test", "Host: shop.test"], [random.pick(hosts)]])
    : ["Host: shop.test"]
  const bare = (method === "GET" || method === "HEAD" || method === "OPTIONS") && random.chance(0.7)
  const { body, fields: framing } = bare ? { body: "", fields: [] } : framed(random, content(random))
  const extra = random.chance(0.15) ? [random.pick(requestFields)] : []
  return [line, ...host, ...fields(random), ...extra, ...framing, "", body].join(crlf)
}

/** One to three requests as a client might send them, one after the other without waiting. */
export const request = (random: Random): RequestCase => {
  const count = 1 + random.below(3)
  const text = Array.from({ length: count }, (_, i) => oneRequest(random, `-${i}`)).join("")
  const last = random.chance(0.9) ? "open" : random.chance(0.5) ? "fin" : "rst"
  return { kind: "request", description: "generated", writes: split(random, mutate(random, text)), ending: last }
}
