/** What a case is, what it is given, and the few words in which cases are written. */
import type { RawClient, RawConnection } from "@sluice/core/testing"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** The proxy did something else than the case says. */
export class Failed extends Data.TaggedError("Failed")<{ readonly observation: string }> {
  override get message(): string {
    return this.observation
  }
}

/** Why a case does not pass. */
export type Problem = Failed | RawConnection.ConnectionLost | RawClient.ConnectError

/** A request as the upstream saw it, and the connection on which it came. */
export interface Seen {
  readonly origin: RawConnection.RawConnection
  readonly seen: RawConnection.RawRequest
}

/** Both sides of the proxy, in the hands of one case. */
export interface Context {
  /** A new connection to the proxy, closed after the case. */
  readonly connect: Effect.Effect<RawConnection.RawConnection, RawClient.ConnectError, Scope.Scope>
  /** The next connection to the upstream. A case that uses it reads the requests itself. */
  readonly origin: Effect.Effect<RawConnection.RawConnection>
  /** The next whole request to the upstream, on whichever connection it comes. */
  readonly nextRequest: Effect.Effect<Seen>
  /** How many bytes the upstream has received in this case. */
  readonly received: Effect.Effect<number>
}

/** One numbered case. */
export interface Case {
  /** The number in the catalogue, such as `B129`. Several cases can share one. */
  readonly number: string
  readonly title: string
  readonly run: (context: Context) => Effect.Effect<unknown, Problem, Scope.Scope>
}

/** A case whose steps are a generator. */
export const define = (
  number: string,
  title: string,
  run: (context: Context) => Generator<Effect.Effect<unknown, Problem, Scope.Scope>, unknown, never>
): Case => ({ number, title, run: (context) => Effect.gen(() => run(context)) })

/** Fails the case with the observation unless the condition holds. */
export const check = (condition: boolean, observation: string): Effect.Effect<void, Failed> =>
  condition ? Effect.void : Effect.fail(new Failed({ observation }))

/** Fails the case unless both are the same. */
export const same = (what: string, actual: unknown, expected: unknown): Effect.Effect<void, Failed> => {
  const [is, should] = [JSON.stringify(actual) ?? "absent", JSON.stringify(expected) ?? "absent"]
  return check(is === should, `${what} is ${is.slice(0, 200)}, not ${should.slice(0, 200)}`)
}

/** A request with a Host. */
export const raw = (line: string, fields: ReadonlyArray<string> = [], body = ""): string =>
  [`${line} HTTP/1.1`, "Host: shop.test", ...fields, "", body].join("\r\n")

/** A GET request. */
export const get = (target: string, ...fields: ReadonlyArray<string>): string => raw(`GET ${target}`, fields)

/** A POST request with a length. */
export const post = (target: string, body: string, ...fields: ReadonlyArray<string>): string =>
  raw(`POST ${target}`, [`Content-Length: ${body.length}`, ...fields], body)

/** A response. */
export const answer = (status: string, fields: ReadonlyArray<string> = [], body = ""): string =>
  [`HTTP/1.1 ${status}`, ...fields, "", body].join("\r\n")

/** The plain response. */
export const ok: string = answer("200 OK", ["Content-Length: 2"], "ok")

/** `abc` in one chunk, and the last one. */
export const chunks = "3\r\nabc\r\n0\r\n\r\n"

/** The values of a field, line by line. */
export const lines = (message: RawConnection.RawMessage, name: string): ReadonlyArray<string> =>
  message.fields.flatMap((field, i) => i % 2 === 0 && field.toLowerCase() === name ? [message.fields[i + 1]] : [])

/** What came first after a request was sent. */
export type Outcome =
  | ({ readonly _tag: "Asked" } & Seen)
  | { readonly _tag: "Answered"; readonly got: RawConnection.RawResponse }
  | { readonly _tag: "Closed" }

/** Whether the proxy asks the upstream, answers on its own, or closes the connection. */
export const outcome = (
  context: Context,
  client: RawConnection.RawConnection,
  options: { readonly toHead?: boolean } = {}
): Effect.Effect<Outcome> => {
  const asked = Effect.map(context.nextRequest, (seen): Outcome => ({ _tag: "Asked", ...seen }))
  const answered = Effect.match(client.response(options), {
    onFailure: (): Outcome => ({ _tag: "Closed" }),
    onSuccess: (got): Outcome => ({ _tag: "Answered", got })
  })
  return Effect.raceFirst(asked, answered)
}

/** The outcome in one phrase. */
export const describe = (outcome: Outcome): string => {
  switch (outcome._tag) {
    case "Asked":
      return `the upstream got ${JSON.stringify(outcome.seen.startLine)}`
    case "Answered":
      return `answered ${outcome.got.status} without the upstream`
    case "Closed":
      return "the connection was closed without a response"
  }
}

/** The request at the upstream; the case fails when the proxy answers on its own or closes. */
export const asked = Effect.fnUntraced(function*(context: Context, client: RawConnection.RawConnection) {
  const found = yield* outcome(context, client)
  if (found._tag !== "Asked") return yield* new Failed({ observation: describe(found) })
  return found
})

/** Sends a request over a connection, answers it at the upstream, and returns what each side saw. */
export const ask = Effect.fnUntraced(function*(
  context: Context,
  client: RawConnection.RawConnection,
  request: string,
  response: string = ok
) {
  yield* client.send(request)
  const { origin, seen } = yield* asked(context, client)
  yield* origin.send(response)
  const got = yield* client.response({ toHead: request.startsWith("HEAD ") })
  return { client, got, origin, seen }
})

/** {@link ask} over a new connection. */
export const exchange = Effect.fnUntraced(function*(context: Context, request: string, response: string = ok) {
  return yield* ask(context, yield* context.connect, request, response)
})

/** The proxy serves another request, and not over the upstream connection that should be gone. */
export const stillServes = Effect.fnUntraced(function*(context: Context, gone?: RawConnection.RawConnection) {
  const { got, origin } = yield* exchange(context, get("/after"))
  yield* same("the status of the next request", got.status, 200)
  yield* same("the body of the next response", got.text, "ok")
  yield* check(origin !== gone, "the upstream connection was used again")
})
