import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"

interface Flight<A> {
  readonly fiber: Fiber.Fiber<A, unknown>
  waiting: number
}

/** Computations by key that several fibers wait for: what runs already is not run again. */
export interface Flights<A> {
  /**
   * Runs the effect, or waits for the one that runs under the key. It goes on for as long as anybody waits, whoever began
   * it. `take` receives the result once for each who waited to the end, and can't be interrupted.
   */
  readonly join: <E, R, B, E2, R2>(
    key: string,
    run: Effect.Effect<A, E, R>,
    take: (result: A, led: boolean) => Effect.Effect<B, E2, R2>
  ) => Effect.Effect<B, E | E2, R | R2>
}

/** `abandon` receives a result that nobody was left to take. */
export const make = <A>(abandon: (result: A) => Effect.Effect<void>): Flights<A> => {
  const flights = new Map<string, Flight<A>>()

  const begin = <E, R>(key: string, run: Effect.Effect<A, E, R>): Effect.Effect<Flight<A>, never, R> =>
    Effect.map(Effect.forkDetach(Effect.interruptible(run)), (fiber) => {
      const flight: Flight<A> = { fiber, waiting: 0 }
      flights.set(key, flight)
      fiber.addObserver(() => forget(key, flight))
      return flight
    })

  const forget = (key: string, flight: Flight<A>): void => {
    if (flights.get(key) === flight) flights.delete(key)
  }

  const leave = (key: string, flight: Flight<A>): Effect.Effect<void> => {
    flight.waiting--
    if (flight.waiting > 0) return Effect.void
    forget(key, flight)
    return Effect.asVoid(Effect.forkDetach(
      Effect.flatMap(
        Effect.andThen(Fiber.interrupt(flight.fiber), Fiber.await(flight.fiber)),
        (exit) => Exit.isSuccess(exit) ? abandon(exit.value) : Effect.void
      )
    ))
  }

  return {
    join: <E, R, B, E2, R2>(
      key: string,
      run: Effect.Effect<A, E, R>,
      take: (result: A, led: boolean) => Effect.Effect<B, E2, R2>
    ) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.suspend(() => {
          const running = flights.get(key)
          return Effect.flatMap(running === undefined ? begin(key, run) : Effect.succeed(running), (flight) => {
            flight.waiting++
            return Effect.flatMap(
              Effect.onInterrupt(restore(Fiber.await(flight.fiber)), () => leave(key, flight)),
              // Sound: what runs under a key fails as its handler does, and a key is one handler's.
              (exit) => Effect.flatMap(exit as Exit.Exit<A, E>, (result) => take(result, running === undefined))
            )
          })
        })
      )
  }
}
