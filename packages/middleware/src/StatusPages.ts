/**
 * What clients see of errors: a body where there is none, and a page for those who read pages.
 *
 * **When to use** At the edge. {@link make} for apps whose handlers answer with a bare status, {@link html} for those that people
 * look at with a browser.
 *
 * **Details** Both look at the response that leaves, whatever made it: a handler's value, a typed error, a defect, a 404.
 * Fields stay as they are. A response that a handler writes itself (a proxied one that streams past, an Express app) is not
 * touched, and goes on streaming; nor is the answer to a request that is too malformed to be handled.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9457
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Effect from "effect/Effect"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { ProblemDetails } from "effect/http/ProblemDetails"
import { type MediaType, parseAccept, weightOf } from "./internal/mediaTypes.ts"
import { withVary } from "./internal/vary.ts"

type Response = HttpServerResponse.HttpServerResponse

/**
 * Gives each 4xx and 5xx response that has no body an `application/problem+json` one.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { StatusPages } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const Closed = Route.get("/", Effect.succeed(HttpServerResponse.empty({ status: 403 })))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Closed, { edge: StatusPages.make() })
 *   return yield* Effect.promise(async () => (await fetch(new Request("http://localhost/"))).text())
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program)))
 * // => {"type":"about:blank","title":"Forbidden","status":403}
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (): Middleware.Middleware<never, never, HttpServerRequest.HttpServerRequest> =>
  rewriting("StatusPages", () => (response) => Effect.succeed(isBare(response) ? withProblem(response) : response))

const rewriting = (
  label: string,
  f: (request: HttpServerRequest.HttpServerRequest) => Exchange.Rewrite
): Middleware.Middleware<never, never, HttpServerRequest.HttpServerRequest> =>
  Middleware.around<never, HttpServerRequest.HttpServerRequest>(
    label,
    (handler) =>
      Effect.flatMap(
        HttpServerRequest.HttpServerRequest,
        (request) => Effect.andThen(Exchange.rewrite(f(request)), handler)
      ),
    { response: "none" }
  )

const isBare = ({ body, status }: Response): boolean => status >= 400 && body._tag === "Empty"

const withProblem = (response: Response): Response =>
  HttpServerResponse.setBody(response, Problem.toResponse({ status: response.status }).body)

/**
 * A page for a problem.
 *
 * @category models
 * @since 0.1.0
 */
export type Render = (problem: ProblemDetails & { readonly status: number }) => string

/**
 * Renders problems as `text/html` for clients that would rather have that than JSON: browsers. All others get the problem.
 *
 * **Details** What counts is `Accept`: `text/html` must weigh more than both `application/problem+json` and
 * `application/json`. Every problem then says `Vary: Accept`. A `render` that throws leaves the problem as it is. To have pages
 * for bare statuses, too, put it around {@link make}.
 *
 * **Gotchas** Members of a problem may hold what a client sent: a `render` of your own must escape them ({@link escape}).
 *
 * @example
 * ```ts
 * import { Handler, Middleware, Route } from "@sluice/core"
 * import { StatusPages } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const pages = StatusPages.html(({ status, title }) => `<h1>${status}</h1><p>${StatusPages.escape(title ?? "")}</p>`)
 * const edge = Middleware.stack(pages, StatusPages.make())
 * const Closed = Route.get("/", Effect.succeed(HttpServerResponse.empty({ status: 403 })))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Closed, { edge })
 *   const request = new Request("http://localhost/", { headers: { accept: "text/html, *\/*;q=0.8" } })
 *   return yield* Effect.promise(async () => (await fetch(request)).text())
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => <h1>403</h1><p>Forbidden</p>
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const html = (
  render: Render = plainPage
): Middleware.Middleware<never, never, HttpServerRequest.HttpServerRequest> =>
  rewriting("StatusPages.html", ({ headers }) => (response) =>
    Effect.sync(() => {
      const problem = problemOf(response)
      if (problem === undefined) return response
      const varied = withVary(response, "Accept")
      if (!prefersHtml(headers["accept"])) return varied
      try {
        return HttpServerResponse.setBody(varied, HttpBody.text(render(problem), "text/html; charset=utf-8"))
      } catch {
        return varied
      }
    }))

const problemOf = ({ body, headers, status }: Response): Parameters<Render>[0] | undefined => {
  if (status < 400 || body._tag !== "Uint8Array") return undefined
  if (!(headers["content-type"] ?? "").startsWith("application/problem+json")) return undefined
  try {
    const members: unknown = JSON.parse(new TextDecoder().decode(body.body))
    return typeof members === "object" && members !== null
      ? { type: "about:blank", ...members, status }
      : undefined
  } catch {
    return undefined
  }
}

const typeOf = (type: string, subtype: string): MediaType => ({ type, subtype, parameters: [] })
const htmlType = typeOf("text", "html")
const jsonTypes = [typeOf("application", "problem+json"), typeOf("application", "json")]

const prefersHtml = (accept: string | undefined): boolean => {
  const accepted = parseAccept(accept)
  const weight = weightOf(accepted, htmlType)
  return jsonTypes.every((type) => weight > weightOf(accepted, type))
}

/**
 * A text with the characters escaped that mean something in HTML.
 *
 * @example
 * ```ts
 * import { StatusPages } from "@sluice/middleware"
 *
 * console.log(StatusPages.escape("<b> & 'c'")) // => &#60;b&#62; &#38; &#39;c&#39;
 * ```
 *
 * @category conversions
 * @since 0.1.0
 */
export const escape = (text: string): string => text.replaceAll(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)

/** Whatever else is in the problem is for programs. */
function plainPage({ detail, status, title }: Parameters<Render>[0]): string {
  const heading = escape(`${status} ${title ?? ""}`.trim())
  const text = detail === undefined ? "" : `<p>${escape(detail)}</p>`
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${heading}</title><h1>${heading}</h1>${text}</html>`
}
