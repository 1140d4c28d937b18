import { describe, expect, it } from "@effect/vitest"
import * as Fields from "@sluice/core/Fields"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Reporter from "@sluice/core/Reporter"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as fc from "fast-check"
import { createHash } from "node:crypto"
import { inspect } from "node:util"
import * as AccessLog from "../src/AccessLog.ts"
import * as ApiKey from "../src/ApiKey.ts"
import * as Coalesce from "../src/Coalesce.ts"
import { cookieValues } from "../src/internal/cookieValues.ts"
import * as Reporting from "../src/Reporting.ts"
import { exchanges, logs, refused, reports, send, settled, start } from "./kit.ts"
import { ask, guarded, User } from "./utils/people.ts"

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex")

const verify = ApiKey.table([
  [Redacted.make("k-1"), { name: "ann" }],
  [sha256("k-2").toUpperCase(), { name: "ben" }],
  [Redacted.make("schlüssel &=%"), { name: "zoe" }]
])

const by = (place: "header" | "query" | "cookie", name: string) =>
  ApiKey.make(User, { in: place, name, realm: "x", verify })

const challenge = `ApiKey realm="x"`

describe("make", () => {
  it.effect("reads a field, whatever its case", () =>
    Effect.gen(function*() {
      const port = yield* guarded(by("header", "X-Api-Key"))
      expect((yield* ask(port, ["x-aPI-key: k-1"])).body).toBe("ann")
      expect((yield* ask(port, ["X-Api-Key:  k-2 "])).body).toBe("ben")
    }))

  it.effect("reads a query parameter", () =>
    Effect.gen(function*() {
      const port = yield* guarded(by("query", "key"))
      expect((yield* ask(port, [], "/?a=1&key=k-1")).body).toBe("ann")
      expect((yield* ask(port, [], `/?k%65y=${encodeURIComponent("schlüssel &=%")}`)).body).toBe("zoe")
      expect((yield* ask(port, [], "/?Key=k-1")).status).toBe(401)
      expect((yield* ask(port, [], "/?a=key=k-1")).status).toBe(401)
    }))

  it.effect("reads a cookie", () =>
    Effect.gen(function*() {
      const port = yield* guarded(by("cookie", "key"))
      expect((yield* ask(port, ["Cookie: a=1; key=k-1; b=2"])).body).toBe("ann")
      expect((yield* ask(port, ["Cookie: a=1", "Cookie: key=\"k-2\""])).body).toBe("ben")
      expect((yield* ask(port, ["Cookie: akey=k-1"])).status).toBe(401)
    }))

  it.effect("no key, a wrong one and two are 401 with a challenge", () =>
    Effect.gen(function*() {
      const header = yield* guarded(by("header", "x-api-key"))
      const query = yield* guarded(by("query", "key"))
      const cookie = yield* guarded(by("cookie", "key"))
      const missing = "Credentials are required"
      const wrong = "The credentials are not accepted"
      for (
        const [port, fields, target, title] of [
          [header, [], "/?x-api-key=k-1", missing],
          [header, ["X-Api-Key: k-3"], "/", wrong],
          [header, ["X-Api-Key: k-"], "/", wrong],
          [header, ["X-Api-Key:"], "/", wrong],
          [header, ["X-Api-Key: k-1", "X-Api-Key: k-1"], "/", wrong],
          [query, ["key: k-1"], "/?", missing],
          [query, [], "/?key=k-3", wrong],
          [query, [], "/?key", wrong],
          [query, [], "/?key=k-1&key=k-1", wrong],
          [cookie, ["key: k-1"], "/", missing],
          [cookie, ["Cookie: key=k-1; key=k-1"], "/", wrong],
          [cookie, ["Cookie: key="], "/", wrong]
        ] as const
      ) {
        const reply = yield* ask(port, fields, target)
        expect([fields, target, reply.status, reply.challenge, JSON.parse(reply.body).title]).toEqual(
          [fields, target, 401, challenge, title]
        )
      }
    }))

  it.effect("an Effect of one's own gets the key redacted, and its failure is the answer", () =>
    Effect.gen(function*() {
      class Down extends Problem.TaggedError<Down>()("Down", { status: 503 }) {}
      const seen: Array<string> = []
      const port = yield* guarded(ApiKey.make(User, {
        in: "header",
        name: "x-key",
        realm: "x",
        verify: (key) => {
          seen.push(`${inspect(key)} ${JSON.stringify(key)}`)
          return Redacted.value(key) === "down" ? Effect.fail(new Down()) : Effect.succeed(Option.some({ name: "ann" }))
        }
      }))
      expect((yield* ask(port, ["X-Key: s3cret"])).body).toBe("ann")
      expect((yield* ask(port, ["X-Key: down"])).status).toBe(503)
      expect(seen.join("\n")).not.toMatch(/s3cret|down/)
    }))

  it.effect("a key is in no log, no report and no attribute, whatever it is called", () =>
    Effect.gen(function*() {
      const { layer, lines } = logs()
      const { ended, observer } = exchanges()
      const edge = Middleware.stack(AccessLog.make(), observer, Reporting.make())
      const broken = Effect.andThen(User, Effect.die(new Error("broken")))
      const keyed = (place: "header" | "query", name: string) =>
        ApiKey.make(User, { in: place, name, realm: "x", verify, userId: (user) => user.name })
      const server = yield* start(
        Server.layer(Route.get("/", Middleware.stack(keyed("header", "X-Zz"), keyed("query", "Zz")), broken), { edge })
      ).pipe(Effect.provide(layer))
      expect((yield* send(server, "/?a=1&Zz=k-1", { headers: { "x-zz": "k-2" } })).status).toBe(500)
      expect((yield* send(server, "/?a=1&Zz=k-9", { headers: { "x-zz": "k-9" } })).status).toBe(401)
      yield* settled(server)
      const [report] = yield* reports
      expect(report.headers["x-zz"]).toBe("<redacted>")
      expect(report.notes["url"]).toBe("/?a=1&Zz=REDACTED")
      expect(report.notes["user.id"]).toBe("ann")
      expect(report.user).toEqual({ id: "ann" })
      expect(JSON.stringify([report.headers, report.notes, report.user, lines])).not.toMatch(/k-\d/)
      expect(JSON.stringify(ended.map(({ attributes, cause }) => [[...attributes], cause]))).not.toMatch(/k-\d/)
    }).pipe(Effect.provide(Reporter.layerMemory)))

  it.effect("a key is in no report either where the scheme runs for several requests, or not at all", () =>
    Effect.gen(function*() {
      const auth = ApiKey.make(User, { in: "header", name: "x-yy", realm: "x", verify })
      const broken = Effect.die(new Error("broken"))
      const routes = Layer.merge(
        Route.get("/shared", Middleware.stack(Coalesce.make(), auth), broken),
        Route.get("/before", Middleware.stack(Middleware.around("broken", () => broken), auth), broken)
      )
      const server = yield* start(Server.layer(routes, { edge: Reporting.make() }))
      for (const path of ["/shared", "/before"]) yield* send(server, path, { headers: { "x-yy": "k-1" } })
      yield* settled(server)
      expect((yield* reports).map(({ headers }) => headers["x-yy"])).toEqual(["<redacted>", "<redacted>"])
    }).pipe(Effect.provide(Reporter.layerMemory)))

  it("refuses what has no such name", () => {
    expect(refused(() => by("header", "a b"))).toContain("name must be a header field name")
    expect(refused(() => by("cookie", ""))).toContain("name must be a header field name")
    expect(refused(() => by("query", ""))).toContain("name must not be empty")
    // @ts-expect-error: no such place
    expect(refused(() => by("body", "key"))).toContain("in must be one of header, query, cookie")
    expect(by("query", "key").label).toBe("ApiKey(query key)")
  })
})

describe("table", () => {
  it("refuses what are no keys, and shows none", () => {
    for (
      const [keys, message] of [
        [["s3cret"], "keys[0] must be Redacted, or a SHA-256 digest"],
        [[sha256("a"), Redacted.make("")], "keys[1] must not be empty"],
        [[sha256("s3cret"), Redacted.make("s3cret")], "keys[1] must not be there before"]
      ] as const
    ) {
      const refusal = refused(() => ApiKey.table(keys.map((key) => [key, 1])))
      expect(refusal).toContain(message)
      expect(refusal).not.toContain("s3cret")
    }
  })

  it.effect("knows just the keys that it was given", () =>
    Effect.gen(function*() {
      const sent = fc.sample(fc.string({ unit: "binary", minLength: 1 }), 200)
      const known = new Map(sent.slice(0, 100).map((key, index) => [key, index]))
      const table = ApiKey.table([...known].map(([key, index]) => [Redacted.make(key), index]))
      for (const key of sent) {
        expect(Option.getOrUndefined(yield* table(Redacted.make(key)))).toBe(known.get(key))
      }
    }))
})

describe("the parser of cookies", () => {
  const name = fc.stringMatching(/^[a-z]{1,3}$/)
  const value = fc.stringMatching(/^[!#-+\--:<-[\]-~]{0,12}$/)

  it("reads every value of a name, over all lines", () => {
    fc.assert(fc.property(fc.array(fc.tuple(name, value), { minLength: 1 }), fc.nat(3), (pairs, at) => {
      const line = (part: typeof pairs) => part.map(([name, value]) => `${name}=${value}`).join("; ")
      const fields = Fields.make(["Cookie", line(pairs.slice(0, at))], ["cookie", line(pairs.slice(at))])
      const [wanted] = pairs[0]
      expect(cookieValues(fields, wanted)).toEqual(pairs.filter(([name]) => name === wanted).map(([, value]) => value))
    }))
  })
})
