import { Effect } from "effect"
import type { Scope } from "effect"
import { assertEquals, type Case } from "./report.ts"
import { orderIds, signIn, submitForm, visit } from "./steps.ts"
import type { World } from "./World.ts"

const forged = { sku: "forged", quantity: "9" }

/** A form that a page elsewhere sends with the cookie of somebody who is signed in. */
const refused = Effect.fnUntraced(function*(world: World, origin: string) {
  const page = yield* world.freshPage
  yield* signIn(page, world.url, world.ann)
  const before = yield* orderIds(world)
  yield* visit(page, origin)
  yield* assertEquals(yield* submitForm(page, `${world.url}/desk/orders`, forged), 403)
  yield* assertEquals(yield* orderIds(world), before)
})

export const csrfCases = (world: World): ReadonlyArray<Case<never, Scope.Scope>> => [
  {
    group: "CSRF",
    name: "the page's own form places an order, and leads back to the page",
    check: Effect.gen(function*() {
      const page = yield* world.freshPage
      yield* signIn(page, world.url, world.ann)
      const before = yield* orderIds(world)
      yield* Effect.promise(() => page.fill("[name=sku]", "cocoa"))
      yield* Effect.promise(() => Promise.all([page.waitForNavigation(), page.click("#order button")]))
      yield* assertEquals(page.url(), `${world.url}/`)
      yield* assertEquals((yield* orderIds(world)).length, before.length + 1)
    })
  },
  {
    group: "CSRF",
    name: "a form of another site is refused: 403, and nothing is ordered",
    check: refused(world, world.stranger)
  },
  {
    group: "CSRF",
    name: "so is one of another origin of the same site, where the cookie goes along",
    check: refused(world, world.friend)
  }
]
