/** What the services have in common, so that each does the same work. */
import { Schema } from "effect"
import { timingSafeEqual } from "node:crypto"

/** Makes the service listen on a free port, and returns it. */
export type Start = () => Promise<number>

/** The workloads that a service can be started for. */
export interface Service {
  /** `GET /` says `hello`. */
  readonly hello: Start
  /** `POST /` answers an {@link Order} with that order: parsed, checked, and written by its schema again. */
  readonly json: Start
  /** `GET /` says `hello` behind eight middleware. */
  readonly stack: Start
}

export const text = "hello\n"

// -- json --------------------------------------------------------------------------------------------------------------

export const Order = Schema.Struct({
  id: Schema.String,
  customer: Schema.Struct({ name: Schema.String, email: Schema.String }),
  lines: Schema.Array(Schema.Struct({ sku: Schema.String, quantity: Schema.Int, price: Schema.Number })),
  express: Schema.Boolean
})

/** The same as JSON Schema. Members that it doesn't have are dropped, as Effect's schemas do. */
export const orderSchema = {
  type: "object",
  additionalProperties: false,
  required: ["id", "customer", "lines", "express"],
  properties: {
    id: { type: "string" },
    customer: {
      type: "object",
      additionalProperties: false,
      required: ["name", "email"],
      properties: { name: { type: "string" }, email: { type: "string" } }
    },
    lines: {
      type: "array",
      items: {
        type: "object",
        additionalProperties: false,
        required: ["sku", "quantity", "price"],
        properties: { sku: { type: "string" }, quantity: { type: "integer" }, price: { type: "number" } }
      }
    },
    express: { type: "boolean" }
  }
} as const

export const order: typeof Order.Type = {
  id: "o-4711",
  customer: { name: "Ann Smith", email: "ann@shop.example" },
  lines: [
    { sku: "a-1", quantity: 2, price: 19.5 },
    { sku: "b-22", quantity: 1, price: 4 },
    { sku: "c-333", quantity: 12, price: 0.75 }
  ],
  express: true
}

// -- stack -------------------------------------------------------------------------------------------------------------

/** The one site that CORS lets in. */
export const origin = "https://shop.example"

export const token = "a-token-that-is-at-least-32-bytes-long"

const tokenBytes = Buffer.from(token)

/** The constant check of bearer tokens. */
export const isToken = (text: string): boolean => {
  const bytes = Buffer.from(text)
  return bytes.length === tokenBytes.length && timingSafeEqual(bytes, tokenBytes)
}

/** Milliseconds that a handler has. */
export const timeout = 5000

/** Requests that a client has in a {@link window}; no load reaches it. */
export const limit = 1_000_000_000

/** Milliseconds. */
export const window = 60_000

let logged = 0

/** Where access logs go: the line was made, and is dropped. */
export const sink = (line: string): void => {
  logged += line.length
}

/** Where reports go. Nothing fails here, so it only has to be there. */
export const report = (error: unknown): void => sink(String(error))

/** Characters that were logged. */
export const loggedSoFar = (): number => logged

/** Buckets of the duration, in seconds, and of body sizes, in bytes: those that ours has by default. */
export const durations = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
export const sizes = [0, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8]
