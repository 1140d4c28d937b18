import { describe, expect, it } from "@effect/vitest"
import * as Fields from "@sluice/core/Fields"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as fc from "fast-check"
import * as BearerAuth from "../src/BearerAuth.ts"
import { challenge, credentialsIn, isToken68 } from "../src/internal/authorization.ts"
import * as Policy from "../src/Policy.ts"
import { refused } from "./kit.ts"
import type { Person } from "./utils/people.ts"
import { ask, guarded, User } from "./utils/people.ts"

class Down extends Problem.TaggedError<Down>()("Down", { status: 503 }) {}

const sessions = new Map<string, Person>([
  ["t-1", { name: "ann", scope: "orders:read orders:write" }],
  ["a-._~+/9==", { name: "ben", scope: "orders:read" }]
])

const auth = BearerAuth.make(User, {
  realm: "x",
  verify: (token) =>
    Redacted.value(token) === "down"
      ? Effect.fail(new Down())
      : Effect.sync(() => Option.fromUndefinedOr(sessions.get(Redacted.value(token))))
})

describe("make", () => {
  it.effect("C81: without a token 401 and a challenge that names no error", () =>
    Effect.gen(function*() {
      const port = yield* guarded(auth)
      for (const fields of [[], ["Authorization: Basic YTpi"], ["Authorization: Bearerish t-1"], ["Authorization: "]]) {
        const { challenge, status } = yield* ask(port, fields)
        expect([fields, status, challenge]).toEqual([fields, 401, `Bearer realm="x"`])
      }
    }))

  it.effect("C81: the scheme has no case, and every character of a token is read", () =>
    Effect.gen(function*() {
      const port = yield* guarded(auth)
      expect((yield* ask(port, ["Authorization: Bearer t-1"])).body).toBe("ann")
      expect((yield* ask(port, ["authorization: bEARER   t-1"])).body).toBe("ann")
      expect((yield* ask(port, ["Authorization: Bearer a-._~+/9=="])).body).toBe("ben")
    }))

  it.effect("C81: a field that can't be read, and two tokens, are 400 invalid_request", () =>
    Effect.gen(function*() {
      const port = yield* guarded(auth)
      for (
        const fields of [
          ["Authorization: Bearer"],
          ["Authorization: Bearer "],
          ["Authorization: Bearer t-1 t-1"],
          ["Authorization: Bearer t-1, Bearer t-1"],
          ["Authorization: Bearer t=1"],
          ["Authorization: Bearer \"t-1\""],
          ["Authorization: Bearer\tt-1"],
          ["Authorization: Bearer/t-1"],
          ["Authorization: Bearer tö"],
          ["Authorization: Bearer t-1", "Authorization: Bearer t-1"],
          ["Authorization: Basic YTpi", "Authorization: Bearer t-1"]
        ]
      ) {
        const { challenge, status } = yield* ask(port, fields)
        expect([fields, status]).toEqual([fields, 400])
        expect(challenge).toMatch(/^Bearer realm="x", error="invalid_request", error_description="[^"]+"$/)
      }
    }))

  it.effect("C81: a second token in the query is 400, one there alone is none", () =>
    Effect.gen(function*() {
      const port = yield* guarded(auth)
      const both = yield* ask(port, ["Authorization: Bearer t-1"], "/?a=1&access_token=t-1")
      expect([both.status, both.challenge?.includes("invalid_request")]).toEqual([400, true])
      const alone = yield* ask(port, [], "/?access_token=t-1")
      expect([alone.status, alone.challenge]).toEqual([401, `Bearer realm="x"`])
      expect((yield* ask(port, ["Authorization: Bearer t-1"], "/?no_access_token=1")).body).toBe("ann")
    }))

  it.effect("C81: a token that is not accepted is 401 invalid_token", () =>
    Effect.gen(function*() {
      const port = yield* guarded(auth)
      const { body, challenge, status } = yield* ask(port, ["Authorization: Bearer s3cret"])
      expect(status).toBe(401)
      expect(challenge).toBe(`Bearer realm="x", error="invalid_token", error_description="The token is not accepted"`)
      expect(body).not.toContain("s3cret")
      expect((yield* ask(port, ["Authorization: Bearer down"])).status).toBe(503)
    }))

  it.effect("C81: a scope that is missing is 403 insufficient_scope", () =>
    Effect.gen(function*() {
      const write = Policy.enforce(Policy.scope(User, (user) => user.scope ?? "", "orders:read", "orders:write"))
      const port = yield* guarded(Middleware.stack(auth, write))
      expect((yield* ask(port, ["Authorization: Bearer t-1"])).body).toBe("ann")
      const { body, challenge, status } = yield* ask(port, ["Authorization: Bearer a-._~+/9=="])
      expect(status).toBe(403)
      expect(challenge).toBe(`Bearer error="insufficient_scope", scope="orders:read orders:write"`)
      expect(JSON.parse(body)).toMatchObject({ status: 403, scope: "orders:read orders:write" })
    }))

  it("refuses a realm that no challenge can hold", () => {
    expect(refused(() => BearerAuth.make(User, { realm: "ü", verify: () => Effect.succeed(Option.none()) }))).toContain(
      "realm must be printable ASCII"
    )
  })
})

describe("the parser", () => {
  const token68 = fc.stringMatching(/^[A-Za-z0-9._~+/-]{1,40}={0,2}$/)
  const bearers = fc.constantFrom("Bearer", "bearer", "BEARER", "bEaReR")

  it("reads every token in every spelling of the scheme", () => {
    fc.assert(fc.property(token68, bearers, fc.nat(4), (token, scheme, spaces) => {
      const fields = Fields.make(["Authorization", `${scheme} ${" ".repeat(spaces)}${token}`])
      expect(credentialsIn(fields, "bearer")).toBe(token)
      expect(isToken68(token)).toBe(true)
      expect(credentialsIn(fields, "basic")).toBeUndefined()
    }))
  })

  it("takes nothing for one token that is not one", () => {
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
      const read = credentialsIn(Fields.make(["authorization", `Bearer${text}`]), "bearer")
      if (read !== undefined && isToken68(read)) expect(text).toMatch(/^ +[A-Za-z0-9._~+/-]+=*$/)
      const twice = credentialsIn(
        Fields.make(["authorization", "Bearer a"], ["Authorization", `Bearer ${text}`]),
        "bearer"
      )
      expect(twice !== undefined && isToken68(twice)).toBe(false)
    }))
  })

  it("writes parameters that are read back", () => {
    fc.assert(fc.property(fc.string({ unit: "grapheme-ascii" }), (realm) => {
      const [, quoted] = /^Bearer realm="((?:[^"\\]|\\.)*)"$/s.exec(challenge("Bearer", { realm })) ?? []
      expect(quoted?.replaceAll(/\\(.)/gs, "$1")).toBe(realm)
    }))
    expect(challenge("Bearer", { error: undefined })).toBe("Bearer")
  })
})
