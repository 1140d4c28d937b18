import { describe, expect, it } from "@effect/vitest"
import * as Route from "@sluice/core/Route"
import { App, RawClient } from "@sluice/core/testing"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { exportJWK, SignJWT } from "jose"
import type { JWTHeaderParameters, JWTPayload } from "jose"
import type { KeyObject } from "node:crypto"
import { createHmac, createPublicKey, generateKeyPairSync } from "node:crypto"
import { createServer } from "node:http"
import type { ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import * as Jwt from "../src/Jwt.ts"
import { logs, refused, turn } from "./kit.ts"
import { ask, guarded, User, whoami } from "./utils/people.ts"

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 })
const rsa2 = generateKeyPairSync("rsa", { modulusLength: 2048 })
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" })
const ed = generateKeyPairSync("ed25519")
const shared = Buffer.alloc(64, 7)

const Claims = Schema.Struct({ name: Schema.String, scope: Schema.optionalKey(Schema.String) })

const settings = {
  realm: "x",
  issuer: ["https://id.test", "https://other.test"],
  audience: "orders",
  claims: Claims
}

/** The test clock starts at zero, so these are seconds since then. */
const claims = { iss: "https://id.test", aud: "orders", iat: 0, exp: 600, name: "ann" }

const sign = (payload: JWTPayload, key: KeyObject | Uint8Array, header: JWTHeaderParameters) =>
  Effect.promise(() => new SignJWT(payload).setProtectedHeader(header).sign(key))

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url")

const bearer = (token: string) => [`Authorization: Bearer ${token}`]

const reason = (challenge: string | undefined) =>
  /^Bearer realm="x", error="invalid_token", error_description="(.*)"$/.exec(challenge ?? "")?.[1]

const without = (name: string): JWTPayload => Object.fromEntries(Object.entries(claims).filter(([key]) => key !== name))

const byRsa = Jwt.make(User, { ...settings, keys: Jwt.publicKey(rsa.publicKey), algorithms: ["RS256", "PS256"] })

describe("make", () => {
  it.effect("C85: provides the decoded claims", () =>
    Effect.gen(function*() {
      const port = yield* guarded(byRsa)
      for (const alg of ["RS256", "PS256"]) {
        const token = yield* sign(claims, rsa.privateKey, { alg })
        expect((yield* ask(port, bearer(token))).body).toBe("ann")
      }
      const many = yield* sign({ ...claims, iss: "https://other.test", aud: ["a", "orders"] }, rsa.privateKey, {
        alg: "RS256"
      })
      expect((yield* ask(port, bearer(many))).body).toBe("ann")
    }))

  it.effect("takes every kind of key", () =>
    Effect.gen(function*() {
      const cases = [
        ["ES256", Jwt.publicKey(ec.publicKey), ec.privateKey],
        ["EdDSA", Jwt.publicKey(ed.publicKey), ed.privateKey],
        ["HS512", Jwt.secret(Redacted.make(shared)), shared]
      ] as const
      for (const [alg, keys, key] of cases) {
        const port = yield* guarded(Jwt.make(User, { ...settings, keys, algorithms: [alg] }))
        expect((yield* ask(port, bearer(yield* sign(claims, key, { alg })))).body).toBe("ann")
      }
    }))

  it.effect("C82: no token 401, malformed field 400, as for every bearer", () =>
    Effect.gen(function*() {
      const port = yield* guarded(byRsa)
      const none = yield* ask(port)
      expect([none.status, none.challenge]).toEqual([401, `Bearer realm="x"`])
      expect((yield* ask(port, ["Authorization: Bearer a b"])).status).toBe(400)
      for (const text of ["abc", "a.b.c", `${part({ alg: "RS256" })}.${part(claims)}.`, "a.b.c.d.e"]) {
        expect([text, (yield* ask(port, bearer(text))).status]).toEqual([text, 401])
      }
    }))

  it.effect("C82: alg none, and HS256 signed with the public key", () =>
    Effect.gen(function*() {
      const port = yield* guarded(byRsa)
      for (const alg of ["none", "None", "NONE", "", undefined]) {
        const reply = yield* ask(port, bearer(`${part({ alg })}.${part(claims)}.`))
        expect([alg, reply.status]).toEqual([alg, 401])
      }
      const pem = rsa.publicKey.export({ type: "spki", format: "pem" })
      for (const secret of [pem, rsa.publicKey.export({ type: "spki", format: "der" })]) {
        const signed = `${part({ alg: "HS256" })}.${part(claims)}`
        const reply = yield* ask(
          port,
          bearer(`${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`)
        )
        expect([reply.status, reason(reply.challenge)]).toEqual([401, "The algorithm is not accepted"])
      }
    }))

  it.effect("C82: algorithms that are not on the list, and wrong signatures", () =>
    Effect.gen(function*() {
      const port = yield* guarded(byRsa)
      const cases = [
        [yield* sign(claims, rsa.privateKey, { alg: "RS512" }), "The algorithm is not accepted"],
        [yield* sign(claims, ec.privateKey, { alg: "ES256" }), "The algorithm is not accepted"],
        [yield* sign(claims, rsa2.privateKey, { alg: "RS256" }), "The signature is not valid"]
      ]
      const good = yield* sign(claims, rsa.privateKey, { alg: "RS256" })
      const [header, , signature] = good.split(".")
      cases.push([`${header}.${part({ ...claims, name: "root" })}.${signature}`, "The signature is not valid"])
      for (const [token, wanted] of cases) {
        const reply = yield* ask(port, bearer(token))
        expect([reply.status, reason(reply.challenge)]).toEqual([401, wanted])
      }
    }))

  it.effect("C82: a token that was accepted is judged by the time again, and no other is taken for it", () =>
    Effect.gen(function*() {
      const port = yield* guarded(byRsa)
      const token = yield* sign(claims, rsa.privateKey, { alg: "RS256" })
      for (let i = 0; i < 3; i++) expect((yield* ask(port, bearer(token))).body).toBe("ann")
      const [header, payload, signature] = token.split(".")
      const others = [
        `${header}.${part({ ...claims, name: "root" })}.${signature}`,
        `${header}.${payload}.${signature.startsWith("A") ? "B" : "A"}${signature.slice(1)}`,
        `${header}.${payload}.`
      ]
      for (const other of others) expect([other, (yield* ask(port, bearer(other))).status]).toEqual([other, 401])
      yield* TestClock.adjust("629 seconds")
      expect((yield* ask(port, bearer(token))).body).toBe("ann")
      yield* TestClock.adjust("1 second")
      const late = yield* ask(port, bearer(token))
      expect([late.status, reason(late.challenge)]).toEqual([401, "The token has expired"])
    }))

  it.effect("C82: wrong or missing iss, aud, exp, nbf and iat", () =>
    Effect.gen(function*() {
      const port = yield* guarded(byRsa)
      const cases: ReadonlyArray<readonly [JWTPayload, string]> = [
        [{ ...claims, iss: "https://evil.test" }, "The claim iss is not accepted"],
        [without("iss"), "The claim iss is not accepted"],
        [{ ...claims, aud: "other" }, "The claim aud is not accepted"],
        [{ ...claims, aud: ["other"] }, "The claim aud is not accepted"],
        [without("aud"), "The claim aud is not accepted"],
        [without("exp"), "The claim exp is not accepted"],
        [{ ...claims, nbf: 31 }, "The claim nbf is not accepted"],
        [{ ...claims, iat: 31 }, "The claim iat is not accepted"],
        [{ ...claims, name: 7 }, "The claims are not accepted"],
        [without("name"), "The claims are not accepted"]
      ]
      for (const [payload, wanted] of cases) {
        const reply = yield* ask(port, bearer(yield* sign(payload, rsa.privateKey, { alg: "RS256" })))
        expect([payload, reply.status, reason(reply.challenge)]).toEqual([payload, 401, wanted])
      }
      const ahead = yield* sign({ ...claims, nbf: 29, iat: 29 }, rsa.privateKey, { alg: "RS256" })
      expect((yield* ask(port, bearer(ahead))).status).toBe(200)
    }))

  it.effect("C82: a token expires on Effect's clock, the skew later", () =>
    Effect.gen(function*() {
      const port = yield* guarded(byRsa)
      const token = yield* sign(claims, rsa.privateKey, { alg: "RS256" })
      yield* TestClock.adjust("629 seconds")
      expect((yield* ask(port, bearer(token))).status).toBe(200)
      yield* TestClock.adjust("1 seconds")
      const reply = yield* ask(port, bearer(token))
      expect([reply.status, reason(reply.challenge)]).toEqual([401, "The token has expired"])

      const exact = yield* guarded(
        Jwt.make(User, { ...settings, keys: Jwt.publicKey(rsa.publicKey), algorithms: ["RS256"], clockSkew: 0 })
      )
      const later = yield* sign({ ...claims, exp: 631 }, rsa.privateKey, { alg: "RS256" })
      expect((yield* ask(exact, bearer(later))).status).toBe(200)
      yield* TestClock.adjust("1 seconds")
      expect((yield* ask(exact, bearer(later))).status).toBe(401)
    }))

  it.effect("C82: typ and crit", () =>
    Effect.gen(function*() {
      const port = yield* guarded(Jwt.make(User, {
        ...settings,
        keys: Jwt.publicKey(rsa.publicKey),
        algorithms: ["RS256"],
        typ: "at+jwt"
      }))
      const of = (typ?: string) => sign(claims, rsa.privateKey, { alg: "RS256", ...(typ === undefined ? {} : { typ }) })
      expect((yield* ask(port, bearer(yield* of("at+jwt")))).status).toBe(200)
      expect((yield* ask(port, bearer(yield* of("application/AT+jwt")))).status).toBe(200)
      for (const typ of [undefined, "JWT"]) {
        const reply = yield* ask(port, bearer(yield* of(typ)))
        expect([reply.status, reason(reply.challenge)]).toEqual([401, "The claim typ is not accepted"])
      }
      const signed = `${part({ alg: "HS256", typ: "at+jwt", crit: ["x"], x: 1 })}.${part(claims)}`
      const secret = yield* guarded(
        Jwt.make(User, { ...settings, keys: Jwt.secret(Redacted.make(shared)), algorithms: ["HS256"] })
      )
      const critical = `${signed}.${createHmac("sha256", shared).update(signed).digest("base64url")}`
      expect((yield* ask(secret, bearer(critical))).status).toBe(401)
    }))

  it.effect("tells nobody what is in a token that is refused", () =>
    Effect.gen(function*() {
      const { layer, lines } = logs()
      const port = yield* Effect.provide(guarded(byRsa), layer)
      const token = yield* sign({ ...claims, iss: "s3cret-issuer", name: "s3cret" }, rsa.privateKey, { alg: "RS256" })
      const reply = yield* ask(port, bearer(token))
      expect(JSON.stringify([reply, lines])).not.toMatch(/s3cret/)
      expect(JSON.stringify([reply, lines])).not.toContain(token)
    }))

  it("refuses what can't be safe", () => {
    const keys = Jwt.publicKey(rsa.publicKey)
    const secret = Jwt.secret(Redacted.make(shared.subarray(0, 32)))
    const cases: ReadonlyArray<readonly [Partial<Parameters<typeof Jwt.make<User, { name: string }>>[1]>, string]> = [
      [{ algorithms: [] }, "algorithms must not be empty"],
      // @ts-expect-error: no such algorithm
      [{ algorithms: ["none"] }, "algorithms must be one of RS256"],
      [{ algorithms: ["RS256", "HS256"] }, "algorithms must be one of RS256"],
      [{ algorithms: ["HS256", "RS256"], keys: secret }, "algorithms must be one of HS256, HS384, HS512, got RS256"],
      [{ algorithms: ["HS512"], keys: secret }, "keys must be a secret of at least 64 bytes for HS512, got 32"],
      [{ issuer: [] }, "issuer must not be empty"],
      [{ audience: "" }, "audience must not be empty"],
      [{ clockSkew: Infinity }, "clockSkew must be a finite"],
      [{ realm: "" }, "realm must be printable"]
    ]
    for (const [options, message] of cases) {
      expect(refused(() => Jwt.make(User, { ...settings, keys, algorithms: ["RS256"], ...options }))).toContain(message)
    }
    expect(refused(() => Jwt.publicKey(rsa.privateKey))).toContain("keys must be a public key, got a private one")
    // @ts-expect-error: no key set
    expect(refused(() => Jwt.keySet({}))).toContain("keys must be a JSON Web Key Set")
    expect(refused(() => Jwt.remoteKeySet("file:///keys"))).toContain("url must be http: or https:")
    expect(refused(() => Jwt.remoteKeySet("http://a/", { cooldown: 0 }))).toContain("cooldown must be a positive")
  })
})

const jwk = (key: KeyObject, kid: string, more: object = {}) =>
  Effect.promise(async () => ({ ...await exportJWK(createPublicKey(key)), kid, ...more }))

describe("keySet", () => {
  it.effect("C82: takes the key of the kid, and no private or symmetric one", () =>
    Effect.gen(function*() {
      const set = [yield* jwk(rsa.privateKey, "a"), yield* jwk(rsa2.privateKey, "b"), yield* jwk(ec.privateKey, "c")]
      const port = yield* guarded(
        Jwt.make(User, { ...settings, keys: Jwt.keySet({ keys: set }), algorithms: ["RS256", "ES256"] })
      )
      const status = (key: KeyObject, header: JWTHeaderParameters) =>
        Effect.gen(function*() {
          const reply = yield* ask(port, bearer(yield* sign(claims, key, header)))
          return [reply.status, reason(reply.challenge)]
        })
      expect(yield* status(rsa.privateKey, { alg: "RS256", kid: "a" })).toEqual([200, undefined])
      expect(yield* status(rsa2.privateKey, { alg: "RS256", kid: "b" })).toEqual([200, undefined])
      expect(yield* status(rsa2.privateKey, { alg: "RS256", kid: "a" })).toEqual([401, "The signature is not valid"])
      expect(yield* status(rsa.privateKey, { alg: "RS256", kid: "z" })).toEqual([401, "The key is not known"])
      expect(yield* status(ec.privateKey, { alg: "ES256", kid: "a" })).toEqual([401, "The key is not known"])
      expect(yield* status(ec.privateKey, { alg: "ES256" })).toEqual([200, undefined])
      expect(yield* status(rsa.privateKey, { alg: "RS256" })).toEqual([401, "The key is not known"])
    }))
})

/** A server of keys: `answer` is what it does now. */
const keyServer = Effect.acquireRelease(
  Effect.callback<{
    readonly url: string
    readonly requests: () => number
    answer: (response: ServerResponse) => void
    readonly close: () => void
  }>((resume) => {
    let requests = 0
    const server = createServer((_, response) => {
      requests++
      self.answer(response)
    })
    const self = {
      url: "",
      requests: () => requests,
      answer: (response: ServerResponse) => void response.writeHead(500).end(),
      close: () => {
        server.close()
        server.closeAllConnections()
      }
    }
    server.listen(0, "127.0.0.1", () => {
      // Sound: it listens on a port.
      self.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`
      resume(Effect.succeed(self))
    })
  }),
  (server) => Effect.sync(server.close)
)

const json = (keys: ReadonlyArray<unknown>) => (response: ServerResponse) =>
  void response.setHeader("content-type", "application/json").end(JSON.stringify({ keys }))

const withKeys = (url: string, options?: Jwt.RemoteOptions) =>
  guarded(Jwt.make(User, { ...settings, keys: Jwt.remoteKeySet(url, options), algorithms: ["RS256"] })).pipe(
    Effect.provide(FetchHttpClient.layer)
  )

const long = { ...claims, exp: 1_000_000 }

describe("remoteKeySet", () => {
  it.effect("C82: keys are fetched once for all who wait, and kept", () =>
    Effect.gen(function*() {
      const server = yield* keyServer
      const key = yield* jwk(rsa.privateKey, "a")
      const token = yield* sign(long, rsa.privateKey, { alg: "RS256", kid: "a" })
      const held: Array<ServerResponse> = []
      const first = yield* Deferred.make<void>()
      server.answer = (response) => {
        held.push(response)
        Deferred.doneUnsafe(first, Effect.void)
      }
      const port = yield* withKeys(server.url)
      const waiting = yield* Effect.forkChild(Effect.all([1, 2, 3].map(() => ask(port, bearer(token))), {
        concurrency: "unbounded"
      }))
      yield* Deferred.await(first)
      held.forEach(json([key]))
      expect((yield* Fiber.join(waiting)).map(({ body }) => body)).toEqual(["ann", "ann", "ann"])
      expect((yield* ask(port, bearer(token))).body).toBe("ann")
      expect(server.requests()).toBe(1)
      yield* TestClock.adjust("10 minutes")
      server.answer = json([key])
      expect((yield* ask(port, bearer(token))).body).toBe("ann")
      expect(server.requests()).toBe(2)
    }))

  it.effect("C82: a token that was accepted is refused once its key is another or gone", () =>
    Effect.gen(function*() {
      const server = yield* keyServer
      const token = yield* sign(long, rsa.privateKey, { alg: "RS256", kid: "a" })
      server.answer = json([yield* jwk(rsa.privateKey, "a")])
      const port = yield* withKeys(server.url)
      for (let i = 0; i < 2; i++) expect((yield* ask(port, bearer(token))).body).toBe("ann")
      server.answer = json([yield* jwk(rsa2.privateKey, "a")])
      yield* TestClock.adjust("10 minutes")
      const replaced = yield* ask(port, bearer(token))
      expect([replaced.status, reason(replaced.challenge)]).toEqual([401, "The signature is not valid"])
      server.answer = json([yield* jwk(rsa2.privateKey, "b")])
      yield* TestClock.adjust("10 minutes")
      const gone = yield* ask(port, bearer(token))
      expect([gone.status, reason(gone.challenge)]).toEqual([401, "The key is not known"])
    }))

  it.effect("C82: an unknown kid has the keys fetched once more, then not before the cooldown is over", () =>
    Effect.gen(function*() {
      const server = yield* keyServer
      const [a, b] = [yield* jwk(rsa.privateKey, "a"), yield* jwk(rsa2.privateKey, "b")]
      const old = yield* sign(long, rsa.privateKey, { alg: "RS256", kid: "a" })
      const fresh = yield* sign(long, rsa2.privateKey, { alg: "RS256", kid: "b" })
      server.answer = json([a])
      const port = yield* withKeys(server.url)
      expect((yield* ask(port, bearer(old))).status).toBe(200)
      server.answer = json([a, b])
      expect((yield* ask(port, bearer(fresh))).status).toBe(200)
      expect(server.requests()).toBe(2)
      const unknown = yield* sign(long, rsa.privateKey, { alg: "RS256", kid: "z" })
      for (let i = 0; i < 3; i++) {
        const reply = yield* ask(port, bearer(unknown))
        expect([reply.status, reason(reply.challenge)]).toEqual([401, "The key is not known"])
      }
      expect(server.requests()).toBe(2)
      yield* TestClock.adjust("30 seconds")
      expect((yield* ask(port, bearer(unknown))).status).toBe(401)
      expect((yield* ask(port, bearer(unknown))).status).toBe(401)
      expect(server.requests()).toBe(3)
      expect((yield* ask(port, bearer(old))).status).toBe(200)
    }))

  it.effect("C82: with nothing cached and the key set down the answer is 503, and it recovers", () =>
    Effect.gen(function*() {
      const server = yield* keyServer
      const token = yield* sign(long, rsa.privateKey, { alg: "RS256", kid: "a" })
      const { layer, lines } = logs()
      const port = yield* Effect.provide(withKeys(server.url), layer)
      const reply = yield* ask(port, bearer(token))
      expect([reply.status, reply.challenge, reply.retryAfter]).toEqual([503, undefined, "1"])
      expect(lines.filter(({ level }) => level === "Warn").map(({ message }) => message)).toEqual([
        `the key set at ${server.url} could not be fetched`
      ])
      expect((yield* ask(port, bearer(token))).status).toBe(503)
      expect(server.requests()).toBe(1)
      for (
        const answer of [
          (response: ServerResponse) => void response.end("no JSON"),
          (response: ServerResponse) => void response.setHeader("content-type", "application/json").end("{}"),
          (response: ServerResponse) => void response.destroy()
        ]
      ) {
        server.answer = answer
        yield* TestClock.adjust("1 seconds")
        expect((yield* ask(port, bearer(token))).status).toBe(503)
      }
      expect(server.requests()).toBe(4)
      server.answer = json([yield* jwk(rsa.privateKey, "a")])
      yield* TestClock.adjust("1 seconds")
      expect((yield* ask(port, bearer(token))).body).toBe("ann")
    }))

  it.effect("C82: no keys are fetched for a token that can't be good", () =>
    Effect.gen(function*() {
      const server = yield* keyServer
      const port = yield* withKeys(server.url)
      for (const token of ["abc", `${part({ alg: "none" })}.${part(claims)}.`, `${part({ alg: "HS256" })}.e30.AAAA`]) {
        expect((yield* ask(port, bearer(token))).status).toBe(401)
      }
      expect(server.requests()).toBe(0)
    }))

  it.effect("C82: keys that were fetched go on working while the key set is down", () =>
    Effect.gen(function*() {
      const server = yield* keyServer
      server.answer = json([yield* jwk(rsa.privateKey, "a")])
      const token = yield* sign(long, rsa.privateKey, { alg: "RS256", kid: "a" })
      const port = yield* withKeys(server.url, { maxAge: "1 minute", cooldown: "10 seconds" })
      expect((yield* ask(port, bearer(token))).status).toBe(200)
      server.answer = (response) => void response.destroy()
      yield* TestClock.adjust("1 hour")
      expect((yield* ask(port, bearer(token))).status).toBe(200)
      expect((yield* ask(port, bearer(token))).status).toBe(200)
      expect(server.requests()).toBe(2)
      // A key that may only be too new for us.
      const fresh = yield* sign(long, rsa2.privateKey, { alg: "RS256", kid: "b" })
      expect((yield* ask(port, bearer(fresh))).status).toBe(503)
      server.answer = json([yield* jwk(rsa2.privateKey, "b")])
      yield* TestClock.adjust("10 seconds")
      expect((yield* ask(port, bearer(fresh))).status).toBe(200)
      expect((yield* ask(port, bearer(token))).status).toBe(401)
    }))

  it.effect("C82: a fetch goes on for those who wait when the client that began it has gone", () =>
    Effect.gen(function*() {
      const server = yield* keyServer
      const held = yield* Deferred.make<ServerResponse>()
      server.answer = (response) => Deferred.doneUnsafe(held, Effect.succeed(response))
      const token = yield* sign(long, rsa.privateKey, { alg: "RS256", kid: "a" })
      const keys = Jwt.remoteKeySet(server.url)
      const scheme = Jwt.make(User, { ...settings, keys, algorithms: ["RS256"] })
      const { active, port } = yield* App.listen(Route.get("/", scheme, whoami)).pipe(
        Effect.provide(FetchHttpClient.layer)
      )
      const requests = (count: number) =>
        Effect.gen(function*() {
          while ((yield* active) !== count) yield* turn
        })
      const first = yield* RawClient.connect(port)
      yield* first.send(`GET / HTTP/1.1\r\nHost: a\r\n${bearer(token)[0]}\r\n\r\n`)
      const response = yield* Deferred.await(held)
      const second = yield* Effect.forkChild(ask(port, bearer(token)))
      yield* requests(2)
      first.socket.destroy()
      yield* requests(1)
      json([yield* jwk(rsa.privateKey, "a")])(response)
      expect((yield* Fiber.join(second)).body).toBe("ann")
      expect(server.requests()).toBe(1)
    }))

  it.effect("C82: a fetch that takes too long is given up", () =>
    Effect.gen(function*() {
      const server = yield* keyServer
      const asked = yield* Deferred.make<void>()
      server.answer = () => Deferred.doneUnsafe(asked, Effect.void)
      const token = yield* sign(long, rsa.privateKey, { alg: "RS256", kid: "a" })
      const port = yield* withKeys(server.url, { timeout: "3 seconds" })
      const waiting = yield* Effect.forkChild(ask(port, bearer(token)))
      yield* Deferred.await(asked)
      yield* TestClock.adjust("3 seconds")
      expect((yield* Fiber.join(waiting)).status).toBe(503)
    }))
})
