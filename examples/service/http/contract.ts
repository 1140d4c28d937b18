/** The API as data: handlers, the OpenAPI document and typed clients are made of it. */
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiMiddleware, HttpApiSchema } from "effect/http-api"
import { ImpossibleStep, NewOrder, Order, OrderChanged, OrderId, OrderNotFound, Status } from "../domain/Order.ts"

/** An order and its entity tag. */
const Tagged = HttpApiSchema.WithHeaders(Order, { etag: Schema.String })
const Created = HttpApiSchema.WithHeaders(Order.pipe(HttpApiSchema.status(201)), {
  etag: Schema.String,
  location: Schema.String
})

const params = { id: Schema.FiniteFromString.pipe(Schema.decodeTo(OrderId)) }

/** For whoever may read. */
export const Reading = HttpApiGroup.make("reading").add(
  HttpApiEndpoint.get("list", "/orders", {
    query: {
      after: Schema.optional(Schema.FiniteFromString),
      limit: Schema.optional(
        Schema.FiniteFromString.check(Schema.isInt(), Schema.isBetween({ minimum: 1, maximum: 100 }))
      )
    },
    success: Schema.Array(Order)
  }),
  HttpApiEndpoint.get("get", "/orders/:id", { params, success: Tagged, error: OrderNotFound })
).middleware(HttpApiMiddleware.ProblemDetails)

/** For whoever may write. */
export const Placing = HttpApiGroup.make("placing").add(
  HttpApiEndpoint.post("place", "/orders", { payload: NewOrder, success: Created })
).middleware(HttpApiMiddleware.ProblemDetails)

export const Changing = HttpApiGroup.make("changing").add(
  HttpApiEndpoint.patch("advance", "/orders/:id", {
    params,
    headers: { "if-match": Schema.optional(Schema.String) },
    payload: Schema.Struct({ status: Status }),
    success: Tagged,
    error: [OrderNotFound, OrderChanged, ImpossibleStep]
  })
).middleware(HttpApiMiddleware.ProblemDetails)

/** Each group is mounted through a stack of its own, so each is an API of its own, too. */
export const ReadingApi = HttpApi.make("orders").add(Reading)
export const PlacingApi = HttpApi.make("orders").add(Placing)
export const ChangingApi = HttpApi.make("orders").add(Changing)

/** The whole, for the document and for clients. */
export const Api = HttpApi.make("orders").add(Reading, Placing, Changing)
