/** The same routes as effects: what a handler needs and what can go wrong is in its type. */
import { NodeHttpServerRequest } from "@effect/platform-node"
import { Exchange, Middleware, Problem, RequestService, Route } from "@sluice/core"
import { AccessLog, Recover, RequestId, SecureHeaders } from "@sluice/middleware"
import { Context, Effect, Layer, Schema } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { join } from "node:path"
import { session as expressSession, sessionOf, type Visited } from "./legacy.ts"
import { type Book, type Line, openSession, setCookie, type Shop } from "./shop.ts"

export class Books extends Context.Service<Books, {
  readonly all: ReadonlyArray<Book>
  readonly get: (id: string) => Effect.Effect<Book, NoSuchBook>
}>()("express-migration/Books") {}

export class Carts extends Context.Service<Carts, {
  readonly open: (cookies: string | undefined) => Effect.Effect<{ readonly id: string; readonly isNew: boolean }>
  readonly get: (session: string) => Effect.Effect<ReadonlyArray<Line>>
  readonly set: (session: string, lines: ReadonlyArray<Line>) => Effect.Effect<void>
}>()("express-migration/Carts") {}

/** The services, over the shop that the Express app uses as well. */
export const services = (shop: Shop): Layer.Layer<Books | Carts> =>
  Layer.merge(
    Layer.succeed(Books)({
      all: shop.books,
      get: (id) => {
        const book = shop.books.find((book) => String(book.id) === id)
        return book === undefined ? Effect.fail(new NoSuchBook()) : Effect.succeed(book)
      }
    }),
    Layer.succeed(Carts)({
      open: (cookies) => Effect.sync(() => openSession(shop, cookies)),
      get: (session) => Effect.sync(() => shop.carts.get(session) ?? []),
      set: (session, lines) => Effect.sync(() => void shop.carts.set(session, lines))
    })
  )

/** Who visits: what was `req.session`. A route without a middleware that provides it does not compile. */
export class Session extends RequestService.Service<Session, string>()("express-migration/Session") {}

export class NoSuchBook extends Problem.TaggedError<NoSuchBook>()("NoSuchBook", { status: 404 }) {}
export class BadOrder extends Problem.TaggedError<BadOrder>()("BadOrder", { status: 400 }) {}

/** Errors as the Express app wrote them, so that no client notices. Without it they are problem details (RFC 9457). */
const asBefore = Middleware.stack(
  Recover.make({ render: () => Effect.succeed(failure(500, "Internal Server Error")) }),
  Middleware.handle(NoSuchBook, () => Effect.succeed(failure(404, "no such book"))),
  Middleware.handle(BadOrder, () => Effect.succeed(failure(400, "an order has a book and a count")))
)

const failure = (status: number, error: string): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.jsonUnsafe({ error }, { status })

const allBooks = Effect.map(Books, ({ all }) => HttpServerResponse.jsonUnsafe(all))

const oneBook = Effect.gen(function*() {
  const { id = "" } = yield* HttpRouter.params
  const books = yield* Books
  return HttpServerResponse.jsonUnsafe(yield* books.get(id))
})

const cart = Effect.gen(function*() {
  const carts = yield* Carts
  return HttpServerResponse.jsonUnsafe(yield* carts.get(yield* Session))
})

const Order = Schema.Struct({
  book: Schema.Int,
  count: Schema.Int.pipe(Schema.withDecodingDefaultKey(Effect.succeed(1)))
})

/** The order in the body. `express.json()` reads nothing that does not say that it is JSON. */
const order = Effect.gen(function*() {
  const { headers } = yield* HttpServerRequest.HttpServerRequest
  if (!/^application\/json\s*(?:;|$)/i.test(headers["content-type"] ?? "")) return yield* new BadOrder()
  return yield* Effect.mapError(HttpServerRequest.schemaBodyJson(Order), () => new BadOrder())
})

const addToCart = Effect.gen(function*() {
  const line = yield* order
  const books = yield* Books
  yield* books.get(String(line.book))
  const carts = yield* Carts
  const session = yield* Session
  const lines = [...yield* carts.get(session), line]
  yield* carts.set(session, lines)
  return HttpServerResponse.jsonUnsafe(lines, { status: 201 })
})

const emptyCart = Effect.gen(function*() {
  const carts = yield* Carts
  yield* carts.set(yield* Session, [])
  return HttpServerResponse.empty({ status: 204 })
})

const invoice = Effect.die(new Error("the printer is on fire"))

type SessionMiddleware = Middleware.Middleware<Session, never, HttpServerRequest.HttpServerRequest | Carts>

/** Stage 2: the Express middleware goes on doing its work, and what it leaves on the request becomes a typed service. */
export const sessionFromExpress = (shop: Shop): SessionMiddleware =>
  Middleware.stack(
    Middleware.fromNodeMiddleware("express session", expressSession(shop)),
    Middleware.provide(
      Session,
      // Sound: a request that an Express middleware has seen came over HTTP/1.
      Effect.map(HttpServerRequest.HttpServerRequest, (request) =>
        sessionOf(NodeHttpServerRequest.toIncomingMessage(request) as Visited))
    )
  )

/** Stage 3: the same by ourselves. */
const session: SessionMiddleware = Middleware.provide(
  Session,
  Effect.gen(function*() {
    const { headers } = yield* HttpServerRequest.HttpServerRequest
    const carts = yield* Carts
    const { id, isNew } = yield* carts.open(headers["cookie"])
    if (isNew) yield* Exchange.editHead((head) => head.append("set-cookie", setCookie(id)))
    return id
  })
)

export const books = (session: SessionMiddleware) => {
  const api = Middleware.stack(asBefore, session)
  return Layer.merge(Route.get("/books", api, allBooks), Route.get("/books/:id", api, oneBook))
}

/** Stage 2: the routes that only read. */
export const reading = (session: SessionMiddleware) =>
  Layer.merge(books(session), Route.get("/cart", Middleware.stack(asBefore, session), cart))

const page = HttpServerResponse.file(join(import.meta.dirname, "public", "index.html"), {
  contentType: "text/html; charset=utf-8"
})

const api = Middleware.stack(asBefore, session)

/** Stage 3: all of them. */
export const all = Layer.mergeAll(
  reading(session),
  Route.post("/cart", api, addToCart),
  Route.del("/cart", api, emptyCart),
  Route.get("/invoice", api, invoice),
  Route.get("/", asBefore, Effect.orDie(page)),
  Route.get("/index.html", asBefore, Effect.orDie(page))
)

/** Around everything from stage 1 on: what the Express app never had, its own routes have at once. */
export const edge = Middleware.stack(AccessLog.make(), RequestId.make(), SecureHeaders.make())

/** At stage 3 nobody else answers a path that no route has. */
export const lastEdge = Middleware.stack(
  edge,
  Middleware.handle(Route.NotFound, () => Effect.succeed(failure(404, "no such page")))
)
