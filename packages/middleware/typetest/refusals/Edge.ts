import * as Middleware from "@sluice/core/Middleware"
import * as RequestService from "@sluice/core/RequestService"
import * as Route from "@sluice/core/Route"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as ClientIp from "../../src/ClientIp.ts"
import * as ContentSecurityPolicy from "../../src/ContentSecurityPolicy.ts"
import * as IpFilter from "../../src/IpFilter.ts"
import * as Language from "../../src/Language.ts"
import * as SecureHeaders from "../../src/SecureHeaders.ts"

const ok = Effect.succeed(HttpServerResponse.empty())
const office = IpFilter.make({ allow: ["10.0.0.0/8"] })

// a filter by address goes under what knows the address
Route.get("/", Middleware.stack(ClientIp.make(), office), ok)
Middleware.stack(office, ClientIp.make()) // error: "needs a middleware ABOVE it that provides": ClientAddress
Route.get("/", office, ok) // error: "no middleware provides": ClientAddress

// a list that changes may fail, and then the failure needs a response
const failing = Effect.as(Effect.fail("no"), IpFilter.networks([]))
Route.get("/", Middleware.stack(ClientIp.make(), IpFilter.make({ deny: failing })), ok) // error: "these errors have no response": string

// a nonce is there only where it is made
const page = Effect.map(SecureHeaders.Nonce, HttpServerResponse.text)
Route.get("/", SecureHeaders.withNonce({ contentSecurityPolicy: { "script-src": ["'nonce'"] } }), page)
Route.get("/", SecureHeaders.make(), page) // error: "no middleware provides": Nonce

// directives are those of the standard
ContentSecurityPolicy.format({ "default-src": ["'self'"] })
ContentSecurityPolicy.format({ "srcipt-src": ["'self'"] }) // error: '"srcipt-src"' does not exist
ContentSecurityPolicy.format({ sandbox: ["allow-everything"] }) // error: "allow-everything"

// the languages are those of the service
class Locale extends RequestService.Service<Locale, "en" | "de">()("typetest/Locale") {}
Language.make(Locale, { supported: ["en", "de"] })
Language.make(Locale, { supported: ["en", "fr"] }) // error: "fr"
Language.make(Locale, { supported: ["en"], fallback: "fr" }) // error: "fr"
