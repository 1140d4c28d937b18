/**
 * What clients rely on, asked over a socket. Every stage must pass it; no test knows how far the migration is, but for the
 * last ones, which are about what a stage adds.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it, layer } from "@effect/vitest"
import { RawClient } from "@sluice/core/testing"
import { Effect, Logger, Queue, Stream } from "effect"
import { ChildProcess } from "effect/process"
import { makeShop } from "./shop.ts"
import { listen, stages } from "./stages.ts"

/** A client of a shop that has just opened; it sends what it is given with every request. */
const visit = Effect.fnUntraced(function*(stage: (typeof stages)[number]) {
  const port = yield* Effect.provide(listen(stage, makeShop(), 0), Logger.layer([]))
  const client = yield* RawClient.connect(port)
  return (line: string, fields: ReadonlyArray<string> = [], body = "") =>
    client.request(
      [`${line} HTTP/1.1`, "Host: shop.test", ...fields, `Content-Length: ${body.length}`, "", body].join("\r\n")
    )
})

type Answer = Effect.Success<ReturnType<Effect.Success<ReturnType<typeof visit>>>>

const json = "Content-Type: application/json"
const parsed = ({ text }: Answer): unknown => JSON.parse(text)
const mediaType = (answer: Answer) => answer.get("content-type")?.split(";")[0]
const cookieOf = (answer: Answer) => `Cookie: theme=dark; ${answer.get("set-cookie")?.split(";")[0]}`

const assertError = (answer: Answer, status: number, error: string) => {
  assert.strictEqual(answer.status, status)
  assert.strictEqual(mediaType(answer), "application/json")
  assert.deepStrictEqual(parsed(answer), { error })
}

for (const stage of stages) {
  describe(`express-migration, stage ${stage}`, () => {
    it.effect("lists the books, and shows one", () =>
      Effect.gen(function*() {
        const ask = yield* visit(stage)
        const all = yield* ask("GET /books")
        assert.deepStrictEqual([all.status, mediaType(all)], [200, "application/json"])
        assert.deepStrictEqual(parsed(all), makeShop().books)
        const one = yield* ask("GET /books/2?from=list")
        assert.deepStrictEqual([one.status, mediaType(one)], [200, "application/json"])
        assert.deepStrictEqual(parsed(one), { id: 2, title: "Invisible Cities", cents: 950 })
      }))

    it.effect("answers what there isn't with 404 and JSON", () =>
      Effect.gen(function*() {
        const ask = yield* visit(stage)
        assertError(yield* ask("GET /books/9"), 404, "no such book")
        assertError(yield* ask("GET /books/2/cover"), 404, "no such page")
        assertError(yield* ask("POST /nowhere", [json], "{}"), 404, "no such page")
      }))

    it.effect("keeps a cart for each session", () =>
      Effect.gen(function*() {
        const ask = yield* visit(stage)
        const first = yield* ask("POST /cart", [json], `{"book":1,"count":2}`)
        assert.deepStrictEqual([first.status, parsed(first)], [201, [{ book: 1, count: 2 }]])
        assert.match(first.get("set-cookie") ?? "", /^session=[\w-]{36}; Path=\/; HttpOnly; SameSite=Lax$/)
        const cookie = cookieOf(first)

        const second = yield* ask("POST /cart", [`${json}; charset=utf-8`, cookie], `{"book":2}`)
        assert.isUndefined(second.get("set-cookie"))
        const lines = [{ book: 1, count: 2 }, { book: 2, count: 1 }]
        assert.deepStrictEqual(parsed(second), lines)
        const mine = yield* ask("GET /cart", [cookie])
        assert.isUndefined(mine.get("set-cookie"))
        assert.deepStrictEqual(parsed(mine), lines)

        const somebody = yield* ask("GET /cart", ["Cookie: session=made-up"])
        assert.deepStrictEqual(parsed(somebody), [])
        assert.notStrictEqual(cookieOf(somebody), cookie)

        const gone = yield* ask("DELETE /cart", [cookie])
        assert.deepStrictEqual([gone.status, gone.text], [204, ""])
        assert.deepStrictEqual(parsed(yield* ask("GET /cart", [cookie])), [])
        // A session that began with a question is the one that orders.
        const asked = yield* ask("GET /cart")
        yield* ask("POST /cart", [json, cookieOf(asked)], `{"book":2}`)
        assert.deepStrictEqual(parsed(yield* ask("GET /cart", [cookieOf(asked)])), [{ book: 2, count: 1 }])
      }))

    it.effect("refuses an order that is none", () =>
      Effect.gen(function*() {
        const ask = yield* visit(stage)
        const wrong = "an order has a book and a count"
        assertError(yield* ask("POST /cart", [json], `{"book":"1"}`), 400, wrong)
        assertError(yield* ask("POST /cart", [json], `{"book":1,"count":0.5}`), 400, wrong)
        assertError(yield* ask("POST /cart", ["Content-Type: text/plain"], `{"book":1}`), 400, wrong)
        assertError(yield* ask("POST /cart"), 400, wrong)
        assertError(yield* ask("POST /cart", [json], `{"book":9}`), 404, "no such book")
        assert.strictEqual((yield* ask("POST /cart", [json], `{"book":`)).status, 400)
      }))

    it.effect("says nothing of what broke", () =>
      Effect.gen(function*() {
        const ask = yield* visit(stage)
        assertError(yield* ask("GET /invoice"), 500, "Internal Server Error")
        assert.strictEqual((yield* ask("GET /books")).status, 200)
      }))

    it.effect("has a page", () =>
      Effect.gen(function*() {
        const ask = yield* visit(stage)
        for (const path of ["/", "/index.html"]) {
          const page = yield* ask(`GET ${path}`)
          assert.deepStrictEqual([page.status, page.get("content-type")], [200, "text/html; charset=utf-8"])
          assert.include(page.text, "<h1>Bookshop</h1>")
        }
        const head = yield* ask("HEAD /index.html")
        assert.deepStrictEqual([head.status, head.text], [200, ""])
      }))
  })
}

for (const stage of stages.filter((stage) => stage !== "0")) {
  it.effect(`stage ${stage}: whoever answers, the edge is around it`, () =>
    Effect.gen(function*() {
      const ask = yield* visit(stage)
      for (const line of ["GET /books", "POST /cart", "GET /invoice", "GET /nowhere", "GET /"]) {
        const answer = yield* ask(line)
        assert.match(answer.get("x-request-id") ?? "", /^[\w-]{36}$/, line)
        assert.strictEqual(answer.get("x-content-type-options"), "nosniff", line)
      }
    }))
}

it.effect("what the README says that differs", () =>
  Effect.gen(function*() {
    for (const [stage, status, hasTag] of [["0", 404, true], ["2", 404, false], ["3", 405, false]] as const) {
      const ask = yield* visit(stage)
      assert.strictEqual((yield* ask("DELETE /books")).status, status, stage)
      assert.strictEqual((yield* ask("GET /books")).get("etag") !== undefined, hasTag, stage)
    }
    const ask = yield* visit("embedded")
    const refused = yield* ask("DELETE /books")
    assert.deepStrictEqual([refused.status, refused.get("allow")], [405, "GET, HEAD, OPTIONS"])
  }))

layer(NodeServices.layer, { excludeTestServices: true })("express-migration", (it) => {
  for (const stage of stages) {
    it.effect(`main.ts --stage ${stage} listens, and stops on SIGTERM`, () =>
      Effect.gen(function*() {
        const program = yield* ChildProcess.make(
          process.execPath,
          ["--disable-warning=ExperimentalWarning", "main.ts", "--stage", stage, "--port", "0"],
          { cwd: import.meta.dirname }
        )
        const lines = yield* program.stdout.pipe(
          Stream.decodeText,
          Stream.splitLines,
          Stream.toQueue({ capacity: 100 })
        )
        const [, said, url = ""] = /^stage (\w+): listening on (\S+)$/.exec(yield* Queue.take(lines)) ?? []
        assert.strictEqual(said, stage)
        const response = yield* Effect.promise(() => fetch(`${url}/books/1`))
        assert.deepInclude(yield* Effect.promise(() => response.json()), { title: "The Dispossessed" })
        process.kill(program.pid, "SIGTERM")
        assert.strictEqual(yield* program.exitCode, 0)
      }))
  }
})
