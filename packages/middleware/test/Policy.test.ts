import { describe, expect, it } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as RequestService from "@sluice/core/RequestService"
import * as Route from "@sluice/core/Route"
import { App } from "@sluice/core/testing"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import * as Policy from "../src/Policy.ts"
import { refused } from "./kit.ts"
import { ask, guarded, User, whoami } from "./utils/people.ts"

/** Whoever the request says. */
const auth = Middleware.provide(
  User,
  Effect.map(HttpServerRequest.HttpServerRequest, ({ headers }) => ({
    name: headers["x-name"] ?? "nobody",
    ...(headers["x-scope"] === undefined ? {} : { scope: headers["x-scope"] })
  }))
)

const named = (...names: ReadonlyArray<string>) =>
  Policy.make(names.join("/"), User, (user) => names.includes(user.name))

const scoped = Policy.scope(User, (user) => user.scope ?? "", "a", "b")

const statuses = <E extends { readonly _tag: string }>(policy: Policy.Policy<E, User>, people: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const port = yield* guarded(Middleware.stack(auth, Policy.enforce(policy)))
    return yield* Effect.forEach(people, (name) => Effect.map(ask(port, [`X-Name: ${name}`]), ({ status }) => status))
  })

describe("enforce", () => {
  it.effect("answers 403 to whom the policy denies", () =>
    Effect.gen(function*() {
      const port = yield* guarded(Middleware.stack(auth, Policy.enforce(named("ann"))))
      expect((yield* ask(port, ["X-Name: ann"])).body).toBe("ann")
      const reply = yield* ask(port, ["X-Name: ben"])
      expect([reply.status, reply.challenge]).toEqual([403, undefined])
      expect(JSON.parse(reply.body)).toEqual({ type: "about:blank", status: 403, title: "Forbidden" })
    }))

  it.effect("the handler does not run when the policy denies", () =>
    Effect.gen(function*() {
      let runs = 0
      const handler = Effect.andThen(Effect.sync(() => runs++), whoami)
      const { port } = yield* App.listen(
        Route.get("/", Middleware.stack(auth, Policy.enforce(named("ann"))), handler)
      )
      yield* ask(port, ["X-Name: ben"])
      expect(runs).toBe(0)
      yield* ask(port, ["X-Name: ann"])
      expect(runs).toBe(1)
    }))

  it.effect("conceals: the same answer as for a path that does not exist", () =>
    Effect.gen(function*() {
      const port = yield* guarded(
        Middleware.stack(auth, Policy.enforce(Policy.all(named("ann"), scoped), { conceal: true }))
      )
      const hidden = yield* ask(port, ["X-Name: ben"])
      expect(hidden).toEqual(yield* ask(port, ["X-Name: ben"], "/nothing-here"))
      expect(hidden.status).toBe(404)
      expect(yield* ask(port, ["X-Name: ann"])).toEqual(hidden)
      expect((yield* ask(port, ["X-Name: ann", "X-Scope: a b"])).body).toBe("ann")
    }))

  it.effect("a policy may look something up, and may fail", () =>
    Effect.gen(function*() {
      class Down extends Problem.TaggedError<Down>()("Down", { status: 503 }) {}
      class Members extends Context.Service<Members, ReadonlyArray<string>>()("test/Members") {}
      const member = Policy.make("member", User, ({ name }) =>
        name === "down"
          ? Effect.fail(new Down())
          : Effect.map(Members, (members) => members.includes(name)))
      const port = yield* guarded(Middleware.stack(auth, Policy.enforce(member))).pipe(
        Effect.provideService(Members, ["ann"])
      )
      for (const [name, status] of [["ann", 200], ["ben", 403], ["down", 503]]) {
        expect((yield* ask(port, [`X-Name: ${name}`])).status).toBe(status)
      }
    }))

  it("names the policy, and leaves responses alone", () => {
    const policy = Policy.enforce(Policy.any(Policy.not(named("ann")), Policy.all(scoped, named("ben"))))
    expect(policy.label).toBe("Policy(any(not(ann), all(scope(a b), ben)))")
    expect(policy.response).toBe("none")
  })
})

describe("combinators", () => {
  const people = ["ann", "ben", "cat"]

  it.effect("all, any and not", () =>
    Effect.gen(function*() {
      const [ab, bc] = [named("ann", "ben"), named("ben", "cat")]
      expect(yield* statuses(Policy.all(ab, bc), people)).toEqual([403, 200, 403])
      expect(yield* statuses(Policy.any(named("ann"), named("cat")), people)).toEqual([200, 403, 200])
      expect(yield* statuses(Policy.not(ab), people)).toEqual([403, 403, 200])
      expect(yield* statuses(Policy.not(Policy.all(ab, bc)), people)).toEqual([200, 403, 200])
      expect(yield* statuses(Policy.any(Policy.not(bc), Policy.all(ab, bc)), people)).toEqual([200, 200, 403])
    }))

  it.effect("none is asked that can't change the answer", () =>
    Effect.gen(function*() {
      let asked = 0
      const counted = Policy.make("counted", User, () => {
        asked++
        return true
      })
      yield* statuses(Policy.all(named("ann"), counted), ["ben"])
      yield* statuses(Policy.any(named("ann"), counted), ["ann"])
      expect(asked).toBe(0)
      yield* statuses(Policy.all(named("ann"), counted), ["ann"])
      expect(asked).toBe(1)
    }))

  it.effect("the first denial is the answer", () =>
    Effect.gen(function*() {
      const challenged = (policy: Policy.Policy<never, User>) =>
        Effect.gen(function*() {
          const port = yield* guarded(Middleware.stack(auth, Policy.enforce(policy)))
          return (yield* ask(port)).challenge
        })
      const wanted = `Bearer error="insufficient_scope", scope="a b"`
      expect(yield* challenged(Policy.all(scoped, named("ann")))).toBe(wanted)
      expect(yield* challenged(Policy.all(named("ann"), scoped))).toBeUndefined()
      expect(yield* challenged(Policy.any(scoped, named("ann")))).toBe(wanted)
      expect(yield* challenged(Policy.not(Policy.not(scoped)))).toBeUndefined()
    }))
})

describe("scope", () => {
  it.effect("takes the text of a claim, or a list", () =>
    Effect.gen(function*() {
      const listed = Policy.scope(User, (user) => new Set(user.scope?.split(",")), "a", "b")
      const text = yield* guarded(Middleware.stack(auth, Policy.enforce(scoped)))
      const list = yield* guarded(Middleware.stack(auth, Policy.enforce(listed)))
      for (
        const [held, status] of [["a b", 200], ["c b a", 200], ["a", 403], ["ab", 403], ["a bb", 403], ["A B", 403]]
      ) {
        expect([held, (yield* ask(text, [`X-Scope: ${held}`])).status]).toEqual([held, status])
        const commas = String(held).replaceAll(" ", ",")
        expect([held, (yield* ask(list, [`X-Scope: ${commas}`])).status]).toEqual([held, status])
      }
    }))

  it("refuses what can't be a scope", () => {
    for (const one of ["", "a b", "a\"", "ä"]) {
      expect(refused(() => Policy.scope(User, () => [], one))).toContain("required must be scopes")
    }
  })
})

describe("narrow", () => {
  class Admin
    extends RequestService.Service<Admin, { readonly name: string; readonly level: number }>()("test/Admin")
  {}

  const panel = Effect.map(Admin, ({ level, name }) => HttpServerResponse.text(`${name} ${level}`))

  it.effect("provides what a handler may count on, and denies everybody else", () =>
    Effect.gen(function*() {
      const admin = Policy.narrow(User, Admin, (user) =>
        user.name === "ann" ? Option.some({ ...user, level: 3 }) : Option.none())
      const looked = Policy.narrow(User, Admin, (user) =>
        Effect.succeed(Option.filter(Option.some({ ...user, level: 4 }), ({ name }) =>
          name === "ann")), { conceal: true })
      const open = yield* App.listen(Route.get("/", Middleware.stack(auth, admin), panel))
      const hidden = yield* App.listen(Route.get("/", Middleware.stack(auth, looked), panel))
      expect((yield* ask(open.port, ["X-Name: ann"])).body).toBe("ann 3")
      expect((yield* ask(open.port, ["X-Name: ben"])).status).toBe(403)
      expect((yield* ask(hidden.port, ["X-Name: ann"])).body).toBe("ann 4")
      expect((yield* ask(hidden.port, ["X-Name: ben"])).status).toBe(404)
    }))
})
