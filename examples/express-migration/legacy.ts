/** The app as it was: Express, with middleware of its own. The migration changes nothing in it but what it deletes. */
import express, { type ErrorRequestHandler, type Express } from "express"
import type { IncomingMessage, ServerResponse } from "node:http"
import { join } from "node:path"
import { type Line, openSession, setCookie, type Shop } from "./shop.ts"

/** A request that `session` has seen. */
export type Visited = IncomingMessage & { session?: string }

/** Gives every visitor a session: `request.session`. */
export const session = (shop: Shop) => (request: Visited, response: ServerResponse, next: () => void): void => {
  const { id, isNew } = openSession(shop, request.headers.cookie)
  if (isNew) response.setHeader("Set-Cookie", setCookie(id))
  request.session = id
  next()
}

/** What `session` has left. */
export const sessionOf = ({ session }: Visited): string => {
  if (session === undefined) throw new Error("the session middleware is missing")
  return session
}

/** Every error is JSON, and those that are our fault say nothing. */
const errors: ErrorRequestHandler = (
  error: { readonly status?: number; readonly message: string },
  _,
  response,
  next
) => {
  if (response.headersSent) return next(error)
  const status = error.status ?? 500
  response.status(status).json({ error: status < 500 ? error.message : "Internal Server Error" })
}

class HttpError extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export const legacy = (shop: Shop): Express => {
  const app = express()
  app.disable("x-powered-by")
  app.use(express.static(join(import.meta.dirname, "public")))
  app.use(express.json())
  app.use(session(shop))

  app.get("/books", (_, response) => {
    response.json(shop.books)
  })
  app.get("/books/:id", (request, response) => {
    const book = shop.books.find(({ id }) => String(id) === request.params.id)
    if (book === undefined) throw new HttpError(404, "no such book")
    response.json(book)
  })
  app.get("/cart", (request, response) => {
    response.json(shop.carts.get(sessionOf(request)))
  })
  app.post("/cart", (request, response) => {
    const { book, count = 1 }: Partial<Line> = request.body ?? {}
    if (!Number.isInteger(book) || !Number.isInteger(count)) throw new HttpError(400, "an order has a book and a count")
    if (!shop.books.some(({ id }) => id === book)) throw new HttpError(404, "no such book")
    const id = sessionOf(request)
    const cart = [...shop.carts.get(id) ?? [], { book, count }] as ReadonlyArray<Line>
    shop.carts.set(id, cart)
    response.status(201).json(cart)
  })
  app.delete("/cart", (request, response) => {
    shop.carts.set(sessionOf(request), [])
    response.status(204).end()
  })
  app.get("/invoice", () => {
    throw new Error("the printer is on fire")
  })

  app.use((_, __, next) => next(new HttpError(404, "no such page")))
  app.use(errors)
  return app
}
