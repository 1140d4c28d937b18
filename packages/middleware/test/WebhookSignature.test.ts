import { assert, describe, it } from "@effect/vitest"
import * as Handler from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as fc from "fast-check"
import { createHmac } from "node:crypto"
import { inspect } from "node:util"
import { gzipSync } from "node:zlib"
import * as BodyLimit from "../src/BodyLimit.ts"
import * as Decompression from "../src/Decompression.ts"
import * as WebhookSignature from "../src/WebhookSignature.ts"
import { open, raw, refused, type Reply, send, start, until } from "./kit.ts"

const redacted = (...secrets: ReadonlyArray<string>) => secrets.map((secret) => Redacted.make(secret))

/** A handler that counts its runs, and echoes the body. */
const echo = () => {
  const seen = { runs: 0 }
  const handler = Effect.gen(function*() {
    seen.runs++
    const { arrayBuffer } = yield* HttpServerRequest.HttpServerRequest
    return HttpServerResponse.uint8Array(new Uint8Array(yield* arrayBuffer))
  })
  return { seen, handler }
}

const serving = (options: WebhookSignature.Options) =>
  start(Server.layer(Route.post("/", WebhookSignature.make(options), echo().handler)))

const post = (headers: Record<string, string>, body: string | Uint8Array<ArrayBuffer> = ""): RequestInit => ({
  method: "POST",
  headers,
  body
})

/** What a reply says: the body that was echoed, or the reason of the refusal. */
const said = ({ body, headers, status }: Reply): string => {
  if (status === 200) return body
  assert.strictEqual(headers.get("www-authenticate"), "WebhookSignature")
  return `${status} ${(JSON.parse(body) as { readonly reason: string }).reason}`
}

const hexOf = (secret: string, content: string) => createHmac("sha256", secret).update(content).digest("hex")

describe("plain", () => {
  const secret = "It's a Secret to Everybody"
  const signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
  const field = (value: string) => ({ "x-hub-signature-256": value })
  const header = "X-Hub-Signature-256"

  it.effect("a body with its signature goes through and is there for the handler", () =>
    Effect.gen(function*() {
      const server = yield* serving({ format: "plain", header, secrets: redacted(secret) })
      const ask = (value: string, body = "Hello, World!") =>
        Effect.map(send(server, "/", post(field(value), body)), said)
      assert.strictEqual(yield* ask(`sha256=${signature}`), "Hello, World!")
      assert.strictEqual(yield* ask(`sha256=${signature.toUpperCase()}`), "Hello, World!")
      assert.strictEqual(yield* ask(`sha256=${signature}`, "Hello, World?"), "401 mismatch")
      assert.strictEqual(yield* ask(`sha256=${signature}`, ""), "401 mismatch")
      assert.strictEqual(yield* ask(`sha256=${signature.replace("7", "8")}`), "401 mismatch")
    }))

  it.effect("what can't be a signature is refused before the body is read", () =>
    Effect.gen(function*() {
      const server = yield* serving({ format: "plain", header, secrets: redacted(secret), maxBodyBytes: 1 })
      for (
        const value of [
          "",
          signature,
          `sha1=${signature}`,
          `SHA256=${signature}`,
          `sha256=${signature.slice(1)}`,
          `sha256=${signature}0`,
          `sha256=${signature.replace("7", "g")}`,
          `sha256=${signature},sha256=${signature}`
        ]
      ) {
        assert.strictEqual(said(yield* send(server, "/", post(field(value), "too large"))), "401 malformed", value)
      }
      assert.strictEqual(said(yield* send(server, "/", post({}, "too large"))), "401 missing")
      const twice = yield* raw(
        server,
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n" +
          `${header}: sha256=${signature}\r\n`.repeat(2) + "content-length: 0\r\n\r\n"
      )
      assert.include(twice, "HTTP/1.1 401 ")
      assert.include(twice, "\"reason\":\"malformed\"")
    }))

  it.effect("other algorithms, encodings and prefixes", () =>
    Effect.gen(function*() {
      const secrets = redacted("key")
      const long = yield* serving({
        format: "plain",
        header: "X-Signature",
        algorithm: "sha512",
        encoding: "base64",
        secrets
      })
      const sha512 = "3H2KankmBZ6YaX71SmX3Rdkk/D4TwRdoedzchOrEgLrjd/oG0evMb6sTdc2b1hGhiZaUzEyn3A9inYuBM8XIPQ=="
      const ask = (value: string) => Effect.map(send(long, "/", post({ "x-signature": value }, "{\"a\":1}")), said)
      assert.strictEqual(yield* ask(`sha512=${sha512}`), "{\"a\":1}")
      assert.strictEqual(yield* ask(`sha512=${sha512.replace("==", "")}`), "401 malformed")
      assert.strictEqual(yield* ask(`sha512=${sha512.replace("/", "_")}`), "401 malformed")
      assert.strictEqual(yield* ask(`sha256=${sha512}`), "401 malformed")

      const bare = yield* serving({ format: "plain", header: "X-Signature", prefix: "", encoding: "base64", secrets })
      const headers = { "x-signature": "iKZ/JLvNrtDmyZdAS7eadDuvRMa6svTCcyjjAJ0i40I=" }
      assert.strictEqual(said(yield* send(bare, "/", post(headers, "{\"a\":1}"))), "{\"a\":1}")
    }))

  it.effect("while a secret is replaced, the old one and the new one do", () =>
    Effect.gen(function*() {
      const server = yield* serving({ format: "plain", header, secrets: redacted("new", "old") })
      const ask = (secret: string) =>
        Effect.map(send(server, "/", post(field(`sha256=${hexOf(secret, "a")}`), "a")), said)
      assert.deepStrictEqual(
        [yield* ask("new"), yield* ask("old"), yield* ask("older")],
        ["a", "a", "401 mismatch"]
      )
    }))
})

describe("timestamped", () => {
  // By `openssl dgst -sha256 -hmac whsec_test` of `1700000000.{"a":1}`.
  const signature = "38877139021993b830af32feea6e18a8da83eb2f6e49ee50bd9e4cf4ca4d3789"
  const other = "0".repeat(64)
  const setting = { format: "timestamped", header: "Stripe-Signature", secrets: redacted("whsec_test") } as const
  const started = Effect.andThen(TestClock.setTime(1_700_000_000_000), serving(setting))
  const ask = (server: Server.Server["Service"], value: string, body = "{\"a\":1}") =>
    Effect.map(send(server, "/", post({ "stripe-signature": value }, body)), said)

  it.effect("one of several signatures is enough, and other members are ignored", () =>
    Effect.gen(function*() {
      const server = yield* started
      for (
        const value of [
          `t=1700000000,v1=${signature}`,
          `v1=${signature}, t=1700000000`,
          `t=1700000000,v1=${other},v1=${signature},v0=${other}`,
          `t=1700000000,v1=${signature},v1=${other},v1=,x`
        ]
      ) {
        assert.strictEqual(yield* ask(server, value), "{\"a\":1}", value)
      }
      assert.strictEqual(yield* ask(server, `t=1700000000,v1=${other}`), "401 mismatch")
      assert.strictEqual(yield* ask(server, `t=1700000000,v1=${signature}`, "{\"a\":2}"), "401 mismatch")
      assert.strictEqual(yield* ask(server, `t=1700000001,v1=${signature}`), "401 mismatch")
    }))

  it.effect("without one time and a signature of the version it is malformed", () =>
    Effect.gen(function*() {
      const server = yield* started
      for (
        const value of [
          `v1=${signature}`,
          "t=1700000000",
          `t=1700000000,v0=${signature}`,
          `t=1700000000,v1=${signature.slice(2)}`,
          `t=1700000000,t=1700000000,v1=${signature}`,
          `t=,v1=${signature}`,
          `t=-1,v1=${signature}`,
          `t=1.7e9,v1=${signature}`,
          `t=0x6553f100,v1=${signature}`,
          `t=NaN,v1=${signature}`
        ]
      ) {
        assert.strictEqual(yield* ask(server, value), "401 malformed", value)
      }
    }))

  it.effect("a time too long ago or ahead is refused, at the second", () =>
    Effect.gen(function*() {
      const server = yield* started
      const value = `t=1700000000,v1=${signature}`
      const at = (seconds: number) =>
        Effect.andThen(TestClock.setTime((1_700_000_000 + seconds) * 1000), ask(server, value))
      assert.strictEqual(yield* at(300), "{\"a\":1}")
      assert.strictEqual(yield* at(301), "401 timestamp")
      assert.strictEqual(yield* at(-300), "{\"a\":1}")
      assert.strictEqual(yield* at(-301), "401 timestamp")
    }))

  it.effect("the tolerance can be another", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1_700_000_011_000)
      const server = yield* serving({ ...setting, tolerance: "10 seconds" })
      assert.strictEqual(yield* ask(server, `t=1700000000,v1=${signature}`), "401 timestamp")
      const later = `t=1700000001,v1=${hexOf("whsec_test", "1700000001.{\"a\":1}")}`
      assert.strictEqual(yield* ask(server, later), "{\"a\":1}")
    }))
})

describe("standard-webhooks", () => {
  const secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
  const body = "{\"test\": 2432232314}"
  const id = "msg_p5jXN8AQM9LWM0D4loKWxJek"
  const time = "1614265330"
  const signature = "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
  const fields = { "webhook-id": id, "webhook-timestamp": time, "webhook-signature": `v1,${signature}` }
  const started = (secret: string, header?: string) =>
    Effect.andThen(
      TestClock.setTime(Number(time) * 1000),
      serving({ format: "standard-webhooks", secrets: redacted(secret), ...header === undefined ? {} : { header } })
    )

  it.effect("id, time and body are what is signed", () =>
    Effect.gen(function*() {
      for (const server of [yield* started(secret), yield* started(`whsec_${secret}`)]) {
        const ask = (headers: Record<string, string>, text = body) =>
          Effect.map(send(server, "/", post({ ...fields, ...headers }, text)), said)
        const other = `v1,${Buffer.alloc(32).toString("base64")}`
        assert.strictEqual(yield* ask({}), body)
        assert.strictEqual(yield* ask({ "webhook-signature": `v1a,YQ== ${other} v1,${signature}` }), body)
        assert.strictEqual(yield* ask({ "webhook-signature": other }), "401 mismatch")
        assert.strictEqual(yield* ask({ "webhook-id": "msg_1" }), "401 mismatch")
        assert.strictEqual(yield* ask({ "webhook-timestamp": "1614265331" }), "401 mismatch")
        assert.strictEqual(yield* ask({}, `${body} `), "401 mismatch")
        assert.strictEqual(yield* ask({ "webhook-timestamp": "1614265029" }), "401 timestamp")
        for (
          const headers of [
            { "webhook-id": "" },
            { "webhook-timestamp": "today" },
            { "webhook-signature": signature },
            { "webhook-signature": `v1a,${signature}` },
            { "webhook-signature": `v2,${signature}` }
          ]
        ) {
          assert.strictEqual(yield* ask(headers), "401 malformed", JSON.stringify(headers))
        }
      }
    }))

  it.effect("each of the three fields is needed", () =>
    Effect.gen(function*() {
      const server = yield* started(secret)
      for (const name of Object.keys(fields)) {
        const rest = Object.fromEntries(Object.entries(fields).filter(([key]) => key !== name))
        assert.strictEqual(said(yield* send(server, "/", post(rest, body))), "401 missing", name)
      }
    }))

  it.effect("the names can begin with another word", () =>
    Effect.gen(function*() {
      const server = yield* started(secret, "Svix")
      const renamed = Object.fromEntries(
        Object.entries(fields).map(([name, value]) => [name.replace("webhook", "svix"), value])
      )
      assert.strictEqual(said(yield* send(server, "/", post(renamed, body))), body)
      assert.strictEqual(said(yield* send(server, "/", post(fields, body))), "401 missing")
    }))

  it.effect("an id with a full stop can't pass a part of the body off as the time", () =>
    Effect.gen(function*() {
      const server = yield* started(secret)
      const text = `${time}.b`
      const content = `a.1000000000.${text}`
      const signed = createHmac("sha256", Buffer.from(secret, "base64")).update(content).digest("base64")
      const forged = { "webhook-id": "a.1000000000", "webhook-timestamp": time, "webhook-signature": `v1,${signed}` }
      assert.strictEqual(said(yield* send(server, "/", post(forged, "b"))), "401 malformed")
    }))
})

describe("the body", () => {
  const setting = { format: "plain", header: "x-signature", secrets: redacted("key") } as const
  const signed = (body: string) => ({ "x-signature": `sha256=${hexOf("key", body)}` })

  it.effect("one over the limit is a 413, whether it says its length or not, and the handler did not run", () =>
    Effect.gen(function*() {
      const { handler, seen } = echo()
      const server = yield* start(
        Server.layer(Route.post("/", WebhookSignature.make({ ...setting, maxBodyBytes: 10 }), handler))
      )
      const reply = yield* send(server, "/", post(signed("12345678901"), "12345678901"))
      assert.deepStrictEqual([reply.status, (JSON.parse(reply.body) as { readonly limit: number }).limit], [413, 10])
      const client = yield* open(server)
      const field = `x-signature: ${signed("12345678901")["x-signature"]}\r\n`
      client.socket.write(
        `POST / HTTP/1.1\r\nhost: a\r\n${field}transfer-encoding: chunked\r\n\r\nb\r\n12345678901\r\n`
      )
      yield* until(() => client.text().includes("HTTP/1.1 413 "))
      assert.strictEqual(seen.runs, 0)
      assert.strictEqual(said(yield* send(server, "/", post(signed("1234567890"), "1234567890"))), "1234567890")
      assert.strictEqual(seen.runs, 1)
    }))

  it.effect("it can be read as a text, as JSON and as a stream, and the connection goes on", () =>
    Effect.gen(function*() {
      const through = WebhookSignature.make(setting)
      const reading = {
        text: Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ text }) => text),
        json: Effect.flatMap(
          HttpServerRequest.HttpServerRequest,
          ({ json }) => Effect.map(json, String)
        ),
        stream: Effect.flatMap(
          HttpServerRequest.HttpServerRequest,
          ({ stream }) => Stream.mkString(Stream.decodeText(stream))
        ),
        nothing: Effect.succeed("nothing")
      }
      for (const [how, read] of Object.entries(reading)) {
        const handler = Effect.map(read, (text) => HttpServerResponse.text(text))
        const server = yield* start(Server.layer(Route.post("/", through, handler)))
        const client = yield* open(server)
        const head = `POST / HTTP/1.1\r\nhost: a\r\nx-signature: ${signed("12345")["x-signature"]}\r\n`
        const wanted = how === "nothing" ? "nothing" : "12345"
        client.socket.write(`${head}transfer-encoding: chunked\r\n\r\n2\r\n12\r\n`)
        client.socket.write("3\r\n345\r\n0\r\n\r\n")
        yield* until(() => client.text().endsWith(`\r\n\r\n${wanted}`))
        const first = client.text().length
        client.socket.write(`${head}content-length: 5\r\n\r\n12345`)
        yield* until(() => client.text().length > first && client.text().slice(first).endsWith(`\r\n\r\n${wanted}`))
      }
    }))

  it.effect("the signature is of the bytes that were sent, and the handler reads what a Decompression inside makes of them", () =>
    Effect.gen(function*() {
      const { handler } = echo()
      const route = Route.post("/", Middleware.stack(WebhookSignature.make(setting), Decompression.make()), handler)
      const body = Uint8Array.from(gzipSync("hello"))
      const signature = createHmac("sha256", "key").update(body).digest("hex")
      const init = post({ "x-signature": `sha256=${signature}`, "content-encoding": "gzip" }, body)
      assert.strictEqual(said(yield* send(yield* start(Server.layer(route)), "/", init)), "hello")
    }))

  it.effect("a Node handler reads it, too", () =>
    Effect.gen(function*() {
      const handler = Handler.fromNodeHandler((request, response) => void request.pipe(response))
      const server = yield* start(Server.layer(Route.post("/", WebhookSignature.make(setting), handler)))
      const body = "a".repeat(300_000)
      assert.strictEqual(said(yield* send(server, "/", post(signed(body), body))), body)
    }))

  it.effect("a web request can be read as a whole", () =>
    Effect.gen(function*() {
      const { handler, seen } = echo()
      const fetch = yield* Handler.toWebHandler(
        Route.post("/", WebhookSignature.make({ ...setting, maxBodyBytes: 5 }), handler)
      )
      const ask = (body: string, of = body) =>
        Effect.promise(async () => {
          const response = await fetch(new Request("http://localhost/", post(signed(of), body)))
          return [response.status, response.status === 200 ? await response.text() : ""]
        })
      assert.deepStrictEqual(yield* ask("12345"), [200, "12345"])
      assert.deepStrictEqual(yield* ask("12345", "12346"), [401, ""])
      assert.deepStrictEqual(yield* ask("123456"), [413, ""])
      assert.strictEqual(seen.runs, 1)
    }))

  it.effect("a limit further out answers as it says", () =>
    Effect.gen(function*() {
      const { handler } = echo()
      const through = Middleware.stack(BodyLimit.make(10), WebhookSignature.make(setting))
      const server = yield* start(Server.layer(Route.post("/", through, handler)))
      const head = `POST / HTTP/1.1\r\nhost: a\r\nx-signature: ${signed("12345678901")["x-signature"]}\r\n`
      const chunked = yield* raw(server, `${head}transfer-encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n`)
      assert.include(chunked, "HTTP/1.1 413 ")
    }))

  it.effect("any bytes that were signed go through as they are, and no others do", () =>
    Effect.gen(function*() {
      const server = yield* serving({ ...setting, secrets: redacted("schlüssel", "key") })
      const cases = fc.sample(
        fc.record({
          body: fc.uint8Array({ minLength: 1, maxLength: 300 }),
          secret: fc.constantFrom("schlüssel", "key", "schlussel", "key "),
          at: fc.nat(),
          flip: fc.integer({ min: 0, max: 255 })
        }),
        100
      )
      for (const { at, body, flip, secret } of cases) {
        const headers = { "x-signature": `sha256=${createHmac("sha256", secret).update(body).digest("hex")}` }
        const sent = Uint8Array.from(body)
        sent[at % sent.length] ^= flip
        const { status } = yield* send(server, "/", post(headers, sent))
        const isTrue = flip === 0 && (secret === "schlüssel" || secret === "key")
        assert.strictEqual(status, isTrue ? 200 : 401)
        const whole = yield* Effect.promise(() => fetch(server.url, post(headers, Uint8Array.from(body))))
        const back = new Uint8Array(yield* Effect.promise(() => whole.arrayBuffer()))
        if (secret === "schlüssel" || secret === "key") assert.deepStrictEqual([...back], [...body])
        else assert.strictEqual(whole.status, 401)
      }
    }))

  it.effect("no text in the fields is an error of the server, or a signature", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1000)
      const server = yield* start(Server.layer(Route.post(
        "/",
        WebhookSignature.make({ format: "timestamped", header: "a", secrets: redacted("key") }),
        echo().handler
      )))
      const part = fc.constantFrom("t=", "v1=", "1", ",", " ", "=", "0".repeat(64), "ÿ", "e9", "\"")
      for (const parts of fc.sample(fc.array(part), 100)) {
        const { status } = yield* send(server, "/", post({ a: parts.join("") }))
        assert.strictEqual(status, 401, parts.join(""))
      }
    }))
})

describe("make", () => {
  const plain = { format: "plain", header: "x", secrets: redacted("s3cret") } as const
  const timestamped = { format: "timestamped", header: "x", secrets: redacted("s3cret") } as const
  const standard = (...secrets: ReadonlyArray<string>) =>
    ({ format: "standard-webhooks", secrets: redacted(...secrets) }) as const
  const key = Buffer.alloc(24, 1).toString("base64")

  it("refuses what makes no sense, and shows no secret", () => {
    for (
      const [options, message] of [
        [{ ...plain, secrets: [] }, "RangeError: secrets must have at least one"],
        [{ ...plain, secrets: redacted("s3cret", "") }, "RangeError: secrets[1] must not be empty"],
        [{ ...plain, secrets: ["s3cret"] }, "TypeError: secrets[0] must be Redacted"],
        [{ ...plain, format: "s3cret?" }, "RangeError: format must be one of plain, timestamped, standard-webhooks"],
        [{ ...plain, header: "a b" }, "RangeError: header must be a header field name"],
        [{ ...plain, prefix: "a\n" }, "RangeError: prefix must be a header field value"],
        [{ ...plain, encoding: "base32" }, "RangeError: encoding must be one of hex, base64"],
        [{ ...plain, algorithm: "md5" }, "RangeError: algorithm must be one of sha256, sha384, sha512"],
        [{ ...plain, maxBodyBytes: -1 }, "RangeError: maxBodyBytes must be a whole number of at least 0"],
        [{ ...timestamped, header: "" }, "RangeError: header must be a header field name"],
        [{ ...timestamped, algorithm: "sha1" }, "RangeError: algorithm must be one of sha256"],
        [{ ...timestamped, tolerance: 0 }, "RangeError: tolerance must be a positive duration"],
        [{ ...timestamped, tolerance: Infinity }, "RangeError: tolerance must be a finite"],
        [{ ...standard(key), tolerance: -1 }, "RangeError: tolerance must be a positive duration"],
        [{ ...standard(key), header: ":" }, "RangeError: header must be a header field name"],
        [standard(key, "s3cret"), "RangeError: secrets[1] must be 24 to 64 bytes in Base64"],
        [standard("whsec_"), "RangeError: secrets[0] must be 24 to 64 bytes in Base64"],
        [standard(`${key.slice(1)}!`), "RangeError: secrets[0] must be 24 to 64 bytes in Base64"],
        [standard(Buffer.alloc(65).toString("base64")), "RangeError: secrets[0] must be 24 to 64 bytes in Base64"]
      ] as const
    ) {
      // @ts-expect-error: some of them the types refuse, too
      const refusal = refused(() => WebhookSignature.make(options))
      assert.include(refusal, message)
      assert.isFalse(/must.*s3cret$|AQEB/.test(refusal), refusal)
    }
  })

  it("has a label", () => {
    assert.strictEqual(WebhookSignature.make(plain).label, "WebhookSignature(plain x)")
    assert.strictEqual(WebhookSignature.make(timestamped).label, "WebhookSignature(timestamped x 5m)")
    assert.strictEqual(
      WebhookSignature.make({ ...standard(key), tolerance: "90 seconds" }).label,
      "WebhookSignature(standard-webhooks webhook 1m 30s)"
    )
    assert.notInclude(inspect(WebhookSignature.make(plain), { depth: 9 }), "s3cret")
  })
})
