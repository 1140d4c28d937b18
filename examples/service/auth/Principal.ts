import { RequestService } from "@sluice/core"
import { Policy } from "@sluice/middleware"
import { Schema } from "effect"

/** What a token says. */
export const Claims = Schema.Struct({ sub: Schema.String, scope: Schema.String })
export type Claims = typeof Claims.Type

/** Whose request it is. There is one only below an authentication, so a handler that asks for it is never public. */
export class Principal extends RequestService.Service<Principal, Claims>()("service/Principal") {}

export type Scope = "orders:read" | "orders:write"

/** Lets through whoever has the scope: 403 with a challenge that names it otherwise. */
export const scoped = (scope: Scope) => Policy.enforce(Policy.scope(Principal, (principal) => principal.scope, scope))
