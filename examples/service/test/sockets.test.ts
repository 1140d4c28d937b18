/** The service with its database, on a port: streams, drains, and clients that come back. */
import { assert, layer } from "@effect/vitest"
import { RawClient } from "@sluice/core/testing"
import { Effect, Exit, Fiber, Scope } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import { HttpApiClient } from "effect/http-api"
import { OrderChanged, OrderId, OrderNotFound, type Status } from "../domain/Order.ts"
import { Api } from "../http/contract.ts"
import { inSqlite, json, listen, tea } from "./kit.ts"

/** Asks for events on a connection of its own. */
const eventStream = Effect.fnUntraced(function*(
  port: number,
  headers: { readonly authorization: string },
  lastEventId?: number
) {
  const client = yield* RawClient.connect(port)
  const last = lastEventId === undefined ? "" : `Last-Event-ID: ${lastEventId}\r\n`
  yield* client.send(`GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: ${headers.authorization}\r\n${last}\r\n`)
  yield* client.read("retry: 500\n\n")
  return client
})

const event = (id: number, order: number, status: string) =>
  `id: ${id}\nevent: order\ndata: {"order":${order},"status":"${status}"}\n\n`

layer(inSqlite, { excludeTestServices: true })("over sockets", (it) => {
  it.effect("events come as they happen, and who comes back gets what was missed", () =>
    Effect.gen(function*() {
      const app = yield* listen
      const newest = yield* Effect.scoped(Effect.gen(function*() {
        const stream = yield* eventStream(app.port, app.ben)
        const placed = yield* app.send("POST", "/orders", app.ann, tea)
        const { id } = (yield* json(placed)) as { readonly id: number }
        const text = yield* stream.read("\"placed\"}\n\n")
        const [, event = ""] = /^id: (\d+)$/m.exec(text) ?? []
        assert.include(text, `data: {"order":${id},"status":"placed"}`)
        return { event: Number(event), order: id }
      }))
      const change = (status: string) =>
        app.send("PATCH", `/orders/${newest.order}`, { ...app.ann, "if-match": "*" }, { status })
      yield* change("packed")
      yield* change("sent")
      const stream = yield* eventStream(app.port, app.ben, newest.event)
      const missed = yield* stream.read("\"sent\"}\n\n")
      assert.include(missed, event(newest.event + 1, newest.order, "packed"))
      assert.include(missed, event(newest.event + 2, newest.order, "sent"))
      assert.notInclude(missed, "placed")
    }))

  it.effect("of two who change one order at once, one is told that it has changed", () =>
    Effect.gen(function*() {
      const app = yield* listen
      const placed = yield* app.send("POST", "/orders", app.ann, tea)
      const location = placed.headers.get("location") ?? ""
      const fields = { ...app.ann, "if-match": placed.headers.get("etag") ?? "" }
      const both = yield* Effect.all(
        ["packed", "cancelled"].map((status) => app.send("PATCH", location, fields, { status })),
        { concurrency: 2 }
      )
      assert.deepStrictEqual(new Set(both.map(({ status }) => status)), new Set([200, 412]))
    }))

  it.effect("a server that stops ends its event streams and finishes what it has begun", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const app = yield* Scope.provide(listen, scope)
      const stream = yield* eventStream(app.port, app.ben)
      const stopping = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      const { unread } = yield* stream.ended
      assert.isTrue(unread.endsWith("0\r\n\r\n"), JSON.stringify(unread))
      yield* Fiber.join(stopping)
    }))

  it.effect("a client that is made of the contract has its types, its errors among them", () =>
    Effect.gen(function*() {
      const app = yield* listen
      const { authorization } = app.ann
      const client = yield* HttpApiClient.make(Api, {
        baseUrl: app.url,
        transformClient: HttpClient.mapRequest(HttpClientRequest.setHeader("authorization", authorization))
      })
      const placed = yield* client.placing.place({ payload: tea })
      assert.strictEqual(placed.headers.location, `/orders/${placed.body.id}`)
      const found = yield* client.reading.get({ params: { id: placed.body.id } })
      assert.deepStrictEqual(found.body, placed.body)
      const change = (etag: string, status: Status) =>
        client.changing.advance({ params: { id: placed.body.id }, headers: { "if-match": etag }, payload: { status } })
      yield* change(found.headers.etag, "packed")
      const refused = yield* Effect.flip(change(found.headers.etag, "cancelled"))
      assert.instanceOf(refused, OrderChanged)
      const missing = yield* Effect.flip(client.reading.get({ params: { id: OrderId.make(1_000_000) } }))
      assert.instanceOf(missing, OrderNotFound)
    }).pipe(Effect.provide(FetchHttpClient.layer)))

  it.effect("a body that is too large is refused", () =>
    Effect.gen(function*() {
      const app = yield* listen
      const response = yield* app.send("POST", "/orders", app.ann, { ...tea, note: "x".repeat(70_000) })
      assert.strictEqual(response.status, 413)
    }))
})
