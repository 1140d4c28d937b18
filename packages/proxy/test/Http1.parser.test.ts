import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "fast-check"
import * as http from "node:http"
import * as BodyReader from "../src/internal/http1/bodyReader.ts"
import { FieldParser, invalid, type Limits, more } from "../src/internal/http1/fieldParser.ts"
import * as Http1 from "../src/transport/Http1.ts"
import { call, upstream } from "./utils/upstream.ts"

const limits: Limits = { bytes: 200, fields: 5 }

/** Cuts text into views at the given places; each view is a copy of its own. */
const cut = (text: string, places: ReadonlyArray<number>): ReadonlyArray<Buffer> => {
  const at = [...new Set([0, ...places.map((place) => place % (text.length + 1)), text.length])].toSorted((a, b) =>
    a - b
  )
  return at.slice(1).map((end, i) => Buffer.from(text.slice(at[i], end), "latin1"))
}

const bytewise = (text: string) => Array.from({ length: text.length }, (_, i) => i)

/** What a section parser makes of pieces: where it ended, or why it refused. */
const parseHead = (pieces: ReadonlyArray<Buffer>, hasStartLine: boolean) => {
  const parser = new FieldParser(limits, hasStartLine)
  let before = 0
  for (const piece of pieces) {
    const next = parser.parse(piece, 0)
    if (next === invalid) return { problem: parser.problem }
    if (next !== more) {
      const { fields, httpVersion, reason, status } = parser
      return { end: before + next, fields, httpVersion, reason, status }
    }
    before += piece.length
  }
  return "more"
}

const readChunked = (pieces: ReadonlyArray<Buffer>) => {
  const reader = BodyReader.make(
    { chunked: true, length: undefined, persistent: true, keepAliveTimeout: undefined, upgrade: undefined },
    limits
  )
  let text = ""
  let before = 0
  for (const piece of pieces) {
    let at = 0
    while (true) {
      const found = reader.next(piece, at)
      at = reader.at
      if (found === "data") text += piece.toString("latin1", reader.start, reader.end)
      else if (found === "more") break
      else return found === "end" ? { text, end: before + at, trailers: reader.trailers } : { text, found }
    }
    before += piece.length
  }
  return { text, found: "more" }
}

const line = FastCheck.constantFrom(
  "HTTP/1.1 200 OK\r\n",
  "HTTP/1.0 404\r\n",
  "HTTP/1.1 099 x\r\n",
  "A: b\r\n",
  "Long: " + "x".repeat(90) + "\r\n",
  "B:\t\xe9 \r\n",
  "\r\n",
  "\n",
  "\r",
  " fold\r\n",
  "C : d\r\n",
  "D: e\n",
  "E",
  "F: \0\r\n",
  ": \r\n"
)
const head = FastCheck.array(line, { maxLength: 8 }).map((lines) => lines.join(""))
const piece = FastCheck.constantFrom(
  "3\r\nabc\r\n",
  "0\r\n",
  "\r\n",
  "A;x=\"y\"\r\n0123456789\r\n",
  "00\r\n",
  "X: y\r\n",
  "Host: z\r\n",
  "1",
  "\n",
  ";",
  "g"
)
const chunked = FastCheck.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(""))
const places = FastCheck.array(FastCheck.nat(400), { maxLength: 6 })

describe("Http1 parser", () => {
  it("a head means the same however its bytes are cut", () => {
    FastCheck.assert(
      FastCheck.property(head, places, FastCheck.boolean(), (text, at, started) => {
        const whole = parseHead(cut(text, []), started)
        assert.deepStrictEqual(parseHead(cut(text, at), started), whole)
        assert.deepStrictEqual(parseHead(cut(text, bytewise(text)), started), whole)
      }),
      { numRuns: 1000 }
    )
  })

  it("a chunked body means the same however its bytes are cut", () => {
    FastCheck.assert(
      FastCheck.property(chunked, places, (text, at) => {
        const whole = readChunked(cut(text, []))
        assert.deepStrictEqual(readChunked(cut(text, at)), whole)
        assert.deepStrictEqual(readChunked(cut(text, bytewise(text))), whole)
      }),
      { numRuns: 1000 }
    )
  })

  it("random bytes are refused or waited for, never more", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.uint8Array({ maxLength: 300 }), (bytes) => {
        const outcome = parseHead([Buffer.from(bytes)], true)
        assert.isTrue(outcome === "more" || "problem" in outcome || outcome.status >= 100)
        readChunked([Buffer.from(bytes)])
      }),
      { numRuns: 1000 }
    )
  })

  // -- Node's parser as the oracle --------------------------------------------------------------------------------------

  interface Oracle {
    readonly status: number
    readonly reason: string
    readonly fields: ReadonlyArray<string>
    readonly text: string
    readonly trailers: ReadonlyArray<string>
    readonly informational: ReadonlyArray<number>
  }

  const byNode = (port: number, method: string) =>
    Effect.callback<Oracle>((resume) => {
      const informational: Array<number> = []
      const request = http.request({ port, host: "127.0.0.1", method, path: "/", agent: false }, (response) => {
        let text = ""
        response.setEncoding("latin1")
        response.on("data", (chunk: string) => {
          text += chunk
        })
        response.on("end", () => {
          request.destroy()
          resume(Effect.succeed({
            status: response.statusCode ?? 0,
            reason: response.statusMessage ?? "",
            fields: response.rawHeaders,
            text,
            trailers: response.rawTrailers,
            informational
          }))
        })
      })
      request.on("information", ({ statusCode }) => informational.push(statusCode))
      request.on("error", (error) => resume(Effect.die(error)))
      request.end()
    })

  const latin1 = FastCheck.string({
    unit: FastCheck.constantFrom(..."abcXYZ 019,;=\"\t\xe9\xff~!".split("")),
    maxLength: 20
  })
    .map((value) => value.replace(/^[ \t]+|[ \t]+$/g, ""))
  const name = FastCheck.string({
    unit: FastCheck.constantFrom(..."abcXYZ-019_.!~".split("")),
    minLength: 1,
    maxLength: 12
  }).map(
    (text) => `X-${text}`
  )
  const field = FastCheck.tuple(name, latin1)
  const body = FastCheck.array(
    FastCheck.string({ unit: FastCheck.constantFrom(..."ab\r\n0\xff".split("")), minLength: 1, maxLength: 40 }),
    { maxLength: 4 }
  )
  const response = FastCheck.record({
    status: FastCheck.constantFrom(200, 201, 204, 206, 299, 304, 404, 500, 599),
    reason: FastCheck.constantFrom("OK", "", "Not  Quite", "\xe9tat"),
    fields: FastCheck.array(field, { maxLength: 5 }),
    kind: FastCheck.constantFrom("sized", "chunked", "untilClose"),
    pieces: body,
    extension: FastCheck.constantFrom("", ";a", ";a=b;c=\"d\"", ";a=\"\\\"; b\";c"),
    trailers: FastCheck.array(field, { maxLength: 2 }),
    interim: FastCheck.array(FastCheck.constantFrom(102, 103), { maxLength: 2 })
  })

  type Response = typeof response extends FastCheck.Arbitrary<infer A> ? A : never

  const render = (r: Response, method: string): string => {
    const lines = r.fields.map(([n, v]) => `${n}: ${v}\r\n`).join("")
    const empty = method === "HEAD" || r.status === 204 || r.status === 304
    const length = r.pieces.join("").length
    const framing = r.status === 204
      ? ""
      : r.kind === "sized"
      ? `Content-Length: ${length}\r\n`
      : r.kind === "chunked"
      ? "Transfer-Encoding: chunked\r\n"
      : "Connection: close\r\n"
    const chunks = r.pieces.map((text) => `${text.length.toString(16)}${r.extension}\r\n${text}\r\n`).join("")
    const content = empty
      ? ""
      : r.kind === "chunked"
      ? `${chunks}0\r\n${r.trailers.map(([n, v]) => `${n}: ${v}\r\n`).join("")}\r\n`
      : r.pieces.join("")
    const interim = r.interim.map((status) => `HTTP/1.1 ${status} Interim\r\nLink: x\r\n\r\n`).join("")
    return `${interim}HTTP/1.1 ${r.status} ${r.reason}\r\n${lines}${framing}\r\n${content}`
  }

  it.effect("agrees with Node's parser on valid responses, however they are cut", () =>
    Effect.gen(function*() {
      let next: ReadonlyArray<Buffer> = []
      let finish = false
      const up = yield* upstream({
        onRequest: (socket) => {
          const pieces = [...next]
          const step = () => {
            const bytes = pieces.shift()
            if (bytes !== undefined) socket.write(bytes, () => setImmediate(step))
            else if (finish) socket.end()
          }
          step()
        }
      })
      const samples = FastCheck.sample(
        FastCheck.tuple(response, FastCheck.constantFrom("GET", "HEAD", "POST"), places),
        { numRuns: 150, seed: 20_261_120 }
      )
      for (const [sample, method, at] of samples) {
        const text = render(sample, method)
        next = cut(text, at)
        finish = sample.kind === "untilClose"
        const expected = yield* byNode(up.endpoint.port, method)
        const informational: Array<number> = []
        const got = yield* call(up, { method, onInformational: (status) => informational.push(status) })
        assert.deepStrictEqual(
          {
            status: got.status,
            reason: got.response.reason,
            fields: got.response.fields,
            text: got.text,
            trailers: got.trailers,
            informational
          },
          { ...expected },
          text
        )
      }
    }).pipe(Effect.provide(Http1.layer())))
})
