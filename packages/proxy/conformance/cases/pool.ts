import type { RawConnection } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import { answer, ask, asked, type Case, check, define, exchange, get, ok, post, raw, same } from "../Case.ts"

/** A request whose upstream connection ends may also be left to the client: its connection ends without a response. */
const left = "left to the client"

const statusOf = (client: RawConnection.RawConnection): Effect.Effect<number | string> =>
  Effect.match(client.response(), {
    onFailure: (): number | string => left,
    onSuccess: ({ status }): number | string => status
  })

/** What the upstream does instead of an answer over a connection that it answered on before. */
const stale = (then: "end" | "reset"): Case =>
  define("B234", `a GET over a connection that ends (${then}) is sent again, or fails`, function*(context) {
    const client = yield* context.connect
    yield* ask(context, client, get("/first"))
    yield* client.send(get("/second"))
    const { origin } = yield* asked(context, client)
    yield* origin[then]
    yield* Effect.forkScoped(Effect.flatMap(context.nextRequest, (again) => again.origin.send(ok)))
    const status = yield* statusOf(client)
    yield* check([200 as number | string, 502, 503, 504, left].includes(status), `the status is ${status}`)
  })

/** B15: connections to the upstream. */
export const pool: ReadonlyArray<Case> = [
  stale("end"),
  stale("reset"),
  define("B234", "a connection that the upstream has ended is not used", function*(context) {
    const { origin } = yield* exchange(context, get("/first"))
    yield* origin.end
    // It may leave its own side open, as long as it does not use it.
    yield* Effect.timeoutOption(origin.ended, 200)
    const next = yield* exchange(context, get("/second"))
    yield* same("the status", next.got.status, 200)
    yield* check(next.origin !== origin, "the ended connection was used")
  }),
  define("B235", "a POST that the upstream may have got is not sent again", function*(context) {
    const client = yield* context.connect
    yield* ask(context, client, get("/first"))
    yield* client.send(post("/once", "abc"))
    const { origin } = yield* asked(context, client)
    yield* origin.reset
    const found = yield* Effect.raceFirst(
      Effect.map(context.nextRequest, ({ seen }) => seen.startLine),
      statusOf(client)
    )
    yield* check([502 as number | string, 503, 504, left].includes(found), `what came is ${found}`)
  }),
  define("B246", "clients that share connections each get their own responses", function*(context) {
    for (const name of ["one", "two", "three", "four"]) {
      const response = answer("200 OK", [`Content-Length: ${name.length}`], name)
      const { got, seen } = yield* exchange(context, get(`/${name}`), response)
      yield* same("the target upstream", seen.target, `/${name}`)
      yield* same("the body", got.text, name)
    }
  }),
  define("B247", "a connection whose request was not finished is not used again", function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("POST /", ["Content-Length: 100"], "abc"))
    const origin = yield* context.origin
    yield* origin.nextRequestHead
    yield* origin.read("abc")
    yield* origin.send(ok)
    yield* same("the status", (yield* client.response()).status, 200)
    yield* client.reset
    const next = yield* exchange(context, get("/next"))
    yield* check(next.origin !== origin, "the unfinished connection was used again")
    yield* same("the next target upstream", next.seen.target, "/next")
  })
]
