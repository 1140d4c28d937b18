/** The one page of the service: whoever is signed in there orders with a form, and sees what becomes of orders. */
import { SecureHeaders } from "@sluice/middleware"
import { Effect, Redacted, Schema } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import { sessionCookie } from "../auth/authenticate.ts"
import { Principal } from "../auth/Principal.ts"
import { lifetime, Sessions } from "../auth/Sessions.ts"
import { NewOrder } from "../domain/Order.ts"
import { Orders } from "../orders/Orders.ts"

/** Only the page's own script runs, and what else tries is reported. */
export const pageHeaders = SecureHeaders.withNonce({
  contentSecurityPolicy: {
    "default-src": ["'none'"],
    "script-src": ["'nonce'"],
    "connect-src": ["'self'"],
    "form-action": ["'self'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'none'"],
    "report-uri": ["/csp-reports"]
  }
})

const script = `
  const say = (text) => { document.querySelector("#state").textContent = text }
  document.querySelector("#sign-in").addEventListener("submit", async (event) => {
    event.preventDefault()
    const authorization = "Bearer " + new FormData(event.target).get("token")
    const { status } = await fetch("/session", { method: "POST", headers: { authorization } })
    if (status === 204) location.reload()
    else say("that token is not accepted")
  })
  const events = new EventSource("/events")
  events.addEventListener("open", () => say("signed in"))
  events.addEventListener("error", () => say(events.readyState === EventSource.CLOSED ? "not signed in" : "connecting"))
  events.addEventListener("order", ({ data, lastEventId }) => {
    const { order, status } = JSON.parse(data)
    const item = document.createElement("li")
    item.id = "event-" + lastEventId
    item.textContent = "order " + order + " is " + status
    document.querySelector("#events").append(item)
  })
`

const page = (nonce: string): string =>
  `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Order desk</title></head>
<body>
<h1>Order desk</h1>
<p id="state">connecting</p>
<form id="sign-in"><label>Token <input name="token" required></label> <button>Sign in</button></form>
<form id="order" method="post" action="/desk/orders">
  <label>Article <input name="sku" required></label>
  <label>How many <input name="quantity" type="number" value="1" required></label>
  <button>Order</button>
</form>
<ol id="events"></ol>
<script nonce="${nonce}">${script}</script>
</body>
</html>
`

export const show = Effect.map(SecureHeaders.Nonce, (nonce) =>
  HttpServerResponse.text(page(nonce), {
    contentType: "text/html; charset=utf-8",
    // The nonce is for one response.
    headers: { "cache-control": "no-store" }
  }))

/** Behind TLS the cookie would be `__Host-desk`, and `secure`. */
export const signIn = Effect.gen(function*() {
  const secret = yield* (yield* Sessions).open(yield* Principal)
  return HttpServerResponse.empty().pipe(
    HttpServerResponse.setCookieUnsafe(sessionCookie, Redacted.value(secret), {
      httpOnly: true,
      sameSite: "lax",
      path: "/",
      maxAge: lifetime
    })
  )
})

const Form = Schema.Struct({
  sku: NewOrder.fields.sku,
  quantity: Schema.FiniteFromString.pipe(Schema.decodeTo(NewOrder.fields.quantity))
})

export const orderByForm = Effect.gen(function*() {
  const order = yield* HttpServerRequest.schemaBodyUrlParams(Form)
  const { sub } = yield* Principal
  yield* (yield* Orders).place(order, sub)
  // 303: a reload of what comes then orders nothing again.
  return HttpServerResponse.redirect("/", { status: 303 })
})
