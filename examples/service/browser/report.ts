import { Cause, Console, Effect, Exit, type Scope } from "effect"

/** Something that a browser must do, or must not. */
export interface Case<E, R> {
  readonly group: string
  readonly name: string
  /** Dies or fails when it is not so. */
  readonly check: Effect.Effect<void, E, R>
}

/** What was expected did not come. */
export const assert = (holds: boolean, otherwise: string): Effect.Effect<void> =>
  holds ? Effect.void : Effect.die(new Error(otherwise))

export const assertEquals = (actual: unknown, expected: unknown): Effect.Effect<void> => {
  const [got, wanted] = [JSON.stringify(actual), JSON.stringify(expected)]
  return assert(got === wanted, `expected ${wanted}, got ${got}`)
}

/** Runs cases one after the other, prints a line for each, and returns how many did not hold. */
export const run = Effect.fnUntraced(function*<E, R>(cases: ReadonlyArray<Case<E, R | Scope.Scope>>) {
  let failed = 0
  for (const { check, group, name } of cases) {
    const exit = yield* Effect.exit(Effect.timeout(Effect.scoped(check), "15 seconds"))
    const line = `${Exit.isSuccess(exit) ? "pass" : "FAIL"}  ${group.padEnd(6)}${name}`
    yield* Console.log(line)
    if (Exit.isSuccess(exit)) continue
    failed++
    yield* Console.log(Cause.pretty(exit.cause).replaceAll(/^/gm, "      "))
  }
  yield* Console.log(`\n${cases.length - failed} passed, ${failed} failed`)
  return failed
})
