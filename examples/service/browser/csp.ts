import { Effect } from "effect"
import type { Scope } from "effect"
import type { Page } from "playwright-core"
import { assertEquals, type Case } from "./report.ts"
import { evaluate, stateIs, visit } from "./steps.ts"
import type { World } from "./World.ts"

/** Opens the desk as if somebody had managed to put markup into it; its policy is what the service sent with it. */
const visitWith = (page: Page, url: string, markup: string) =>
  Effect.andThen(
    Effect.promise(() =>
      page.route(`${url}/`, async (route) => {
        const response = await route.fetch()
        const body = (await response.text()).replace("<h1>", `${markup}<h1>`)
        await route.fulfill({ response, body })
      })
    ),
    visit(page, `${url}/`)
  )

/** Puts markup into the page, and makes sure that its script has not run and that the service is told so. */
const refused = Effect.fnUntraced(function*(world: World, markup: string, reported: RegExp) {
  const page = yield* world.freshPage
  yield* visitWith(page, world.url, markup)
  yield* stateIs(page, "not signed in")
  yield* assertEquals(yield* evaluate(page, "String(window.injected)"), "undefined")
  yield* world.logged(reported)
})

export const cspCases = (world: World): ReadonlyArray<Case<never, Scope.Scope>> => [
  {
    group: "CSP",
    name: "the page's script has the nonce of its response, and runs",
    check: Effect.gen(function*() {
      const page = yield* world.freshPage
      yield* visit(page, world.url)
      yield* stateIs(page, "not signed in")
    })
  },
  {
    group: "CSP",
    name: "a script without a nonce does not run, and the service is told",
    check: refused(world, "<script>window.injected = true</script>", /"script-src-elem" refused "inline"/)
  },
  {
    group: "CSP",
    name: "nor does one with the nonce of another response",
    check: Effect.gen(function*() {
      const text = yield* Effect.promise(async () => (await fetch(world.url)).text())
      const [, nonce = ""] = /<script nonce="([^"]+)">/.exec(text) ?? []
      const markup = `<script nonce="${nonce}">window.injected = true</script>`
      yield* refused(world, markup, /"script-src-elem" refused "inline"/)
    })
  },
  {
    group: "CSP",
    name: "nor does one in an attribute",
    check: refused(
      world,
      "<details open ontoggle=\"window.injected = true\">more</details>",
      /"script-src-attr" refused "inline"/
    )
  }
]
