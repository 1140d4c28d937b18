import { Effect } from "effect"
import type { Scope } from "effect"
import { assertEquals, type Case } from "./report.ts"
import { call, order, orderIds, signIn, visit } from "./steps.ts"
import type { World } from "./World.ts"

/** A page of an origin that is open. */
const pageOf = Effect.fnUntraced(function*(world: World, origin: string) {
  const page = yield* world.freshPage
  yield* visit(page, origin)
  return page
})

export const corsCases = (world: World): ReadonlyArray<Case<never, Scope.Scope>> => [
  {
    group: "CORS",
    name: "a simple request of a listed origin is readable, with the fields that are exposed and no others",
    check: Effect.gen(function*() {
      const page = yield* pageOf(world, world.friend)
      const { fields, status } = yield* call(page, `${world.url}/openapi.json`)
      const names = ["x-request-id", "ratelimit", "etag", "x-frame-options", "vary"]
      yield* assertEquals([status, ...names.map((name) => name in fields)], [200, true, true, true, false, false])
    })
  },
  {
    group: "CORS",
    name: "of another origin it is carried out, and kept from the script",
    check: Effect.gen(function*() {
      const page = yield* pageOf(world, world.stranger)
      yield* assertEquals((yield* call(page, `${world.url}/kept`)).status, undefined)
      yield* world.logged(/GET \/kept 404/)
    })
  },
  {
    group: "CORS",
    name: "refusals are readable as well: 401, 404",
    check: Effect.gen(function*() {
      const page = yield* pageOf(world, world.friend)
      yield* assertEquals((yield* call(page, `${world.url}/orders`)).status, 401)
      yield* assertEquals((yield* call(page, `${world.url}/nothing`)).status, 404)
    })
  },
  {
    group: "CORS",
    name: "a listed origin's preflight lets it send JSON with a token, and read the Location",
    check: Effect.gen(function*() {
      const page = yield* pageOf(world, world.friend)
      const { fields, status } = yield* call(page, `${world.url}/orders`, order(world))
      yield* world.logged(/OPTIONS \/orders 204/)
      yield* assertEquals([status, /^\/orders\/\d+$/.test(fields["location"] ?? "")], [201, true])
    })
  },
  {
    group: "CORS",
    name: "another origin's preflight stops the request before it is made",
    check: Effect.gen(function*() {
      const before = yield* orderIds(world)
      const page = yield* pageOf(world, world.stranger)
      yield* assertEquals((yield* call(page, `${world.url}/orders`, order(world))).status, undefined)
      yield* world.logged(/OPTIONS \/orders 204/)
      yield* assertEquals(yield* orderIds(world), before)
    })
  },
  {
    group: "CORS",
    name: "so does a field that is not listed",
    check: Effect.gen(function*() {
      const page = yield* pageOf(world, world.friend)
      const { status } = yield* call(page, `${world.url}/orders`, order(world, { "x-unlisted": "1" }))
      yield* assertEquals(status, undefined)
    })
  },
  {
    group: "CORS",
    name: "a listed origin may read with the user's cookie, if it asks for that",
    check: Effect.gen(function*() {
      const page = yield* world.freshPage
      yield* signIn(page, world.url, world.ann)
      yield* visit(page, world.friend)
      yield* assertEquals((yield* call(page, `${world.url}/orders`, { credentials: "include" })).status, 200)
      yield* assertEquals((yield* call(page, `${world.url}/orders`, { credentials: "omit" })).status, 401)
    })
  },
  {
    group: "CORS",
    name: "another origin may not, though the user is signed in",
    check: Effect.gen(function*() {
      const page = yield* world.freshPage
      yield* signIn(page, world.url, world.ann)
      yield* visit(page, world.stranger)
      yield* assertEquals((yield* call(page, `${world.url}/orders`, { credentials: "include" })).status, undefined)
    })
  }
]
