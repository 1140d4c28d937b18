import { describe, expect, it } from "@effect/vitest"
import * as Problem from "@sluice/core/Problem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as fc from "fast-check"
import { inspect } from "node:util"
import * as BasicAuth from "../src/BasicAuth.ts"
import { basicCredentials } from "../src/internal/basicCredentials.ts"
import { refused } from "./kit.ts"
import { ask, guarded, User } from "./utils/people.ts"

const challenge = `Basic realm="x", charset="UTF-8"`

const base64 = (text: string) => Buffer.from(text, "utf8").toString("base64")
const basic = (text: string, scheme = "Basic") => [`Authorization: ${scheme} ${base64(text)}`]

const people = BasicAuth.table({
  ann: { password: Redacted.make("pass:word"), principal: { name: "Ann" } },
  "zoë": { password: Redacted.make("pässwörd€"), principal: { name: "Zoe" } },
  "": { password: Redacted.make("nameless"), principal: { name: "nobody" } }
})

const server = guarded(BasicAuth.make(User, { realm: "x", verify: people }))

describe("make", () => {
  it.effect("C80: without credentials 401 and the challenge", () =>
    Effect.gen(function*() {
      const port = yield* server
      const reply = yield* ask(port)
      expect([reply.status, reply.challenge]).toEqual([401, challenge])
      expect(JSON.parse(reply.body)).toMatchObject({ status: 401, title: "Credentials are required" })
      const other = yield* ask(port, ["Authorization: Bearer abc"])
      expect(JSON.parse(other.body).title).toBe("Credentials are required")
    }))

  it.effect("C80: a password may contain colons, both may be UTF-8, the scheme has no case", () =>
    Effect.gen(function*() {
      const port = yield* server
      expect((yield* ask(port, basic("ann:pass:word"))).body).toBe("Ann")
      expect((yield* ask(port, basic("ann:pass:word", "bAsIc"))).body).toBe("Ann")
      expect((yield* ask(port, [`authorization: BASIC    ${base64("ann:pass:word")}`])).body).toBe("Ann")
      expect((yield* ask(port, basic("zoë:pässwörd€"))).body).toBe("Zoe")
      expect((yield* ask(port, basic("zoe\u0308:pa\u0308sswo\u0308rd€"))).body).toBe("Zoe")
      expect((yield* ask(port, basic(":nameless"))).body).toBe("nobody")
    }))

  it.effect("C80: what can't be read and what is wrong is 401 with the challenge", () =>
    Effect.gen(function*() {
      const port = yield* server
      const latin1 = Buffer.from("zoë:pässwörd", "latin1").toString("base64")
      for (
        const fields of [
          ["Authorization: Basic"],
          ["Authorization: Basic !!!"],
          [`Authorization: Basic ${base64("ann:pass:word").replaceAll("=", "")}=`],
          [`Authorization: Basic ${base64("ann")}`],
          [`Authorization: Basic ${latin1}`],
          [`Authorization: Basic ${base64("ann:pass:word")}, Basic ${base64("ann:pass:word")}`],
          basic("ann:pass:word\u0000"),
          basic("ann:pass"),
          basic("ann:pass:word:"),
          basic("ann:"),
          basic("Ann:pass:word"),
          basic("bob:pass:word")
        ]
      ) {
        const reply = yield* ask(port, fields)
        expect([fields, reply.status, reply.challenge]).toEqual([fields, 401, challenge])
        expect(JSON.parse(reply.body).title).toBe("The credentials are not accepted")
      }
    }))

  it.effect("an Effect of one's own gets the password redacted, and its failure is the answer", () =>
    Effect.gen(function*() {
      class Down extends Problem.TaggedError<Down>()("Down", { status: 503 }) {}
      const seen: Array<string> = []
      const port = yield* guarded(BasicAuth.make(User, {
        realm: `a "quoted" \\ realm`,
        verify: (credentials) => {
          seen.push(`${inspect(credentials)} ${JSON.stringify(credentials)}`)
          return credentials.username === "down"
            ? Effect.fail(new Down())
            : Effect.succeed(Option.some({ name: credentials.username }))
        }
      }))
      expect((yield* ask(port, basic("ben:s3cret"))).body).toBe("ben")
      expect((yield* ask(port, basic("down:s3cret"))).status).toBe(503)
      expect(seen.join("\n")).not.toContain("s3cret")
      expect((yield* ask(port)).challenge).toBe(`Basic realm="a \\"quoted\\" \\\\ realm", charset="UTF-8"`)
    }))

  it("refuses a realm that no challenge can hold", () => {
    for (const realm of ["", "bür", "a\nb"]) {
      expect(refused(() => BasicAuth.make(User, { realm, verify: people }))).toContain("realm must be printable ASCII")
    }
  })
})

describe("table", () => {
  const verify = (table: BasicAuth.Verify<string>, username: string, password: string) =>
    Effect.map(table({ username, password: Redacted.make(password) }), Option.getOrUndefined)

  it.effect("takes hashed passwords", () =>
    Effect.gen(function*() {
      const hash = yield* BasicAuth.hash(Redacted.make("pass:word"))
      expect(hash).toMatch(/^\$scrypt\$ln=15,r=8,p=1\$[\w+/]{22}\$[\w+/]{43}$/)
      expect(yield* BasicAuth.hash(Redacted.make("pass:word"))).not.toBe(hash)
      const table = BasicAuth.table({ ann: { password: hash, principal: "Ann" } })
      expect(yield* verify(table, "ann", "pass:word")).toBe("Ann")
      expect(yield* verify(table, "ann", "pass:worD")).toBeUndefined()
      expect(yield* verify(table, "bob", "pass:word")).toBeUndefined()
    }))

  it.effect("takes hashes that others have made", () =>
    Effect.gen(function*() {
      // RFC 7914, section 12: scrypt("pleaseletmein", "SodiumChloride", 16384, 8, 1, 64)
      const hex = "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2" +
        "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
      const unpadded = (bytes: Buffer) => bytes.toString("base64").replaceAll("=", "")
      const password = `$scrypt$ln=14,r=8,p=1$${unpadded(Buffer.from("SodiumChloride"))}$` +
        unpadded(Buffer.from(hex, "hex"))
      const table = BasicAuth.table({ ann: { password, principal: "Ann" } })
      expect(yield* verify(table, "ann", "pleaseletmein")).toBe("Ann")
      expect(yield* verify(table, "ann", "pleaseletmeout")).toBeUndefined()
    }))

  it.effect("C80: how long it takes does not tell where a password differs, nor whether there is such a user", () =>
    Effect.gen(function*() {
      const password = "p".repeat(100_000)
      const table = BasicAuth.table({ ann: { password: Redacted.make(password), principal: "Ann" } })
      const cost = (username: string, sent: string) =>
        Effect.gen(function*() {
          const credentials = { username, password: Redacted.make(sent) }
          const times: Array<number> = []
          for (let i = 0; i < 40; i++) {
            const start = process.hrtime.bigint()
            yield* table(credentials)
            times.push(Number(process.hrtime.bigint() - start))
          }
          // The least is what the work takes; everything above it is the machine's.
          return Math.min(...times)
        })
      yield* cost("ann", password)
      const costs = [
        yield* cost("ann", `q${password.slice(1)}`),
        yield* cost("ann", `${password.slice(1)}q`),
        yield* cost("bob", password)
      ]
      expect(Math.max(...costs) / Math.min(...costs)).toBeLessThan(2)
    }))

  it("refuses what can't be a table", () => {
    const principal = "Ann"
    expect(refused(() => BasicAuth.table({}))).toContain("users must not be empty")
    expect(refused(() => BasicAuth.table({ "a:b": { password: Redacted.make("s"), principal } }))).toContain("colon")
    for (const password of ["s3cret", "$scrypt$ln=99,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAA"]) {
      const message = refused(() => BasicAuth.table({ ann: { password, principal } }))
      expect(message).toContain("users.ann.password must be Redacted")
      expect(message).not.toContain("s3cret")
    }
  })
})

describe("the parser", () => {
  const plain = fc.string({ unit: "binary" }).map((text) =>
    // oxlint-disable-next-line no-control-regex
    text.replaceAll(/[\u0000-\u001f\u007f]/g, "")
  )

  it("C80: reads back every pair that may be sent", () => {
    fc.assert(fc.property(plain, plain, (name, password) => {
      const username = name.replaceAll(":", "")
      const read = basicCredentials(base64(`${username}:${password}`))
      expect(read?.username).toBe(username)
      expect(read === undefined ? undefined : Redacted.value(read.password)).toBe(password)
    }))
  })

  it("C80: reads no control characters, and nothing that is not UTF-8", () => {
    fc.assert(fc.property(plain, fc.nat(31), (text, code) => {
      expect(basicCredentials(base64(`a:${text}${String.fromCharCode(code)}`))).toBeUndefined()
      expect(basicCredentials(base64(`${String.fromCharCode(code)}:${text}`))).toBeUndefined()
    }))
    expect(basicCredentials(base64("a:\u007f"))).toBeUndefined()
    fc.assert(fc.property(fc.uint8Array(), (bytes) => {
      const pair = Buffer.concat([Buffer.from("a:"), bytes])
      const read = basicCredentials(pair.toString("base64"))
      if (read !== undefined) expect(Buffer.from(`a:${Redacted.value(read.password)}`)).toEqual(pair)
    }))
  })

  it("never throws, and reads nothing but Base64 in its one form", () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.base64String(), fc.string({ unit: "binary" })), (text) => {
      const read = basicCredentials(text)
      if (read === undefined) return
      expect(Buffer.from(`${read.username}:${Redacted.value(read.password)}`, "utf8").toString("base64")).toHaveLength(
        text.length
      )
    }))
  })
})
