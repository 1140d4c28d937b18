import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Incident from "../src/Incident.ts"

describe("Incident", () => {
  it.effect("starts empty", () =>
    Effect.sync(() => {
      assert.deepStrictEqual(Incident.make().read(), { cause: undefined, notes: {} })
    }))

  it.effect("C5 keeps the cause and the notes that a handler attaches", () =>
    Effect.gen(function*() {
      const notebook = Incident.make()
      const cause = Cause.fail("upstream said no")
      yield* Effect.gen(function*() {
        const incident = yield* Incident.Incident
        yield* incident.note({ sku: "a-1", attempt: 1 })
        yield* incident.cause(cause)
        yield* incident.note({ attempt: 2 })
      }).pipe(Effect.provideService(Incident.Incident, notebook.incident))

      assert.strictEqual(notebook.read().cause, cause)
      assert.deepStrictEqual(notebook.read().notes, { sku: "a-1", attempt: 2 })
    }))

  it.effect("C5 the last cause wins", () =>
    Effect.gen(function*() {
      const notebook = Incident.make()
      yield* notebook.incident.cause(Cause.fail("first attempt"))
      yield* notebook.incident.cause(Cause.fail("second attempt"))
      assert.deepStrictEqual(notebook.read().cause, Cause.fail("second attempt"))
    }))

  it.effect("what has been read does not change under the reader", () =>
    Effect.gen(function*() {
      const notebook = Incident.make()
      const before = notebook.read()
      yield* notebook.incident.note({ late: true })
      assert.deepStrictEqual(before.notes, {})
    }))
})
