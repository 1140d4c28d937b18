/**
 * Drives examples/service with a real browser, headless, on loopback only: what its middleware promise is up to browsers to
 * keep. `node browser.ts [--chromium PATH]`; the exit code is 1 when something does not hold, 2 when there is no browser.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Effect, Queue } from "effect"
import { parseArgs } from "node:util"
import { findChromium, freshPage, launch } from "./browser/chromium.ts"
import { corsCases } from "./browser/cors.ts"
import { cspCases } from "./browser/csp.ts"
import { csrfCases } from "./browser/csrf.ts"
import { startOtherOrigin } from "./browser/otherOrigin.ts"
import { startRelay } from "./browser/relay.ts"
import { run } from "./browser/report.ts"
import { sseCases } from "./browser/sse.ts"
import type { World } from "./browser/World.ts"
import { start } from "./program.ts"

const makeWorld = Effect.fnUntraced(function*(chromium: string) {
  const other = yield* startOtherOrigin
  const service = yield* start(["--origin", other.sameSite], "inherit")
  const relay = yield* startRelay(new URL(service.url))
  const browser = yield* launch(chromium)
  const world: World = {
    url: service.url,
    relayed: { url: relay.url.origin, cut: relay.cut },
    friend: other.sameSite,
    stranger: other.crossSite,
    ann: service.tokens.ANN,
    freshPage: freshPage(browser),
    logged: (pattern) => Effect.orDie(Effect.repeat(Queue.take(service.log), { until: (line) => pattern.test(line) }))
  }
  return world
})

const program = Effect.fnUntraced(function*(chromium: string) {
  const world = yield* makeWorld(chromium)
  const cases = [...corsCases(world), ...csrfCases(world), ...cspCases(world), ...sseCases(world)]
  process.exitCode = (yield* run(cases)) === 0 ? 0 : 1
}, Effect.scoped)

const { values } = parseArgs({ options: { chromium: { type: "string" } } })
const chromium = findChromium(values.chromium)
if (chromium === undefined) {
  console.error("no Chromium here: apt-get install -y chromium, or say where it is with --chromium PATH")
  process.exitCode = 2
} else {
  NodeRuntime.runMain(Effect.provide(program(chromium), NodeServices.layer))
}
