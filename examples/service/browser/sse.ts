import { Effect } from "effect"
import type { Scope } from "effect"
import type { Page, Request } from "playwright-core"
import { assertEquals, type Case } from "./report.ts"
import { place, signIn } from "./steps.ts"
import type { World } from "./World.ts"

/** The texts of the events that the desk shows. */
const shown = (page: Page) => Effect.promise(() => page.locator("#events li").allTextContents())

const shows = (page: Page, order: number) =>
  Effect.promise(() => page.waitForSelector(`#events li:text-is("order ${order} is placed")`))

/** Waits for the next time that the page asks for events, and returns what it says it saw last. */
const nextLastEventId = (page: Page) =>
  Effect.promise(async () => {
    const request = await page.waitForRequest((request: Request) => request.url().endsWith("/events"))
    return (await request.allHeaders())["last-event-id"]
  })

export const sseCases = (world: World): ReadonlyArray<Case<never, Scope.Scope>> => [
  {
    group: "SSE",
    name: "the page shows events as they come",
    check: Effect.gen(function*() {
      const page = yield* world.freshPage
      yield* signIn(page, world.url, world.ann)
      const first = yield* place(world)
      yield* shows(page, first)
      const second = yield* place(world)
      yield* shows(page, second)
      yield* assertEquals(yield* shown(page), [`order ${first} is placed`, `order ${second} is placed`])
    })
  },
  {
    group: "SSE",
    name: "a lost connection is made again with Last-Event-ID, and what was missed comes, once",
    check: Effect.gen(function*() {
      const page = yield* world.freshPage
      yield* signIn(page, world.relayed.url, world.ann)
      const seen = yield* place(world)
      yield* shows(page, seen)
      const lastId = yield* Effect.promise(() => page.locator("#events li").last().getAttribute("id"))
      const [said, missed] = yield* Effect.all(
        [nextLastEventId(page), Effect.andThen(world.relayed.cut, place(world))],
        { concurrency: "unbounded" }
      )
      yield* assertEquals(`event-${said}`, lastId)
      yield* shows(page, missed)
      const next = yield* place(world)
      yield* shows(page, next)
      yield* assertEquals(yield* shown(page), [seen, missed, next].map((order) => `order ${order} is placed`))
    })
  }
]
