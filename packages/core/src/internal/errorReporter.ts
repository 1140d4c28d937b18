import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import type * as Fiber from "effect/Fiber"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as Tracer from "effect/Tracer"
import * as Report from "../Report.ts"
import type { Sink } from "./reporterQueue.ts"
import * as reportText from "./reportText.ts"

/** Bridges that {@link bridge} made: a sink skips them, or a report would come back to where it started. */
const bridges = new WeakSet<ErrorReporter.ErrorReporter>()

/** A sink that calls Effect's reporters, each of them guarded. */
export const sink = (reporters: ReadonlyArray<ErrorReporter.ErrorReporter>): Sink => {
  const theirs = reporters.filter((reporter) => !bridges.has(reporter))
  const call = (report: Report.Report): Effect.Effect<void> =>
    Effect.withFiber((fiber) => {
      for (const reporter of theirs) {
        try {
          reporter.report({ cause: report.cause, fiber, timestamp: BigInt(Math.round(report.time)) * 1_000_000n })
        } catch {
          // One that throws must not keep the report from the next.
        }
      }
      return Effect.void
    })
  return (batch) =>
    Effect.forEach(batch, (report) => Effect.annotateLogs(call(report), reportText.annotations(report)), {
      discard: true
    })
}

/** A reporter for Effect that hands everything over to ours. It never throws: Effect would leave the request unanswered. */
export const bridge = (report: (report: Report.Report) => Effect.Effect<void>): ErrorReporter.ErrorReporter => {
  const self: ErrorReporter.ErrorReporter = {
    [ErrorReporter.TypeId]: ErrorReporter.TypeId,
    report: ({ cause, fiber, timestamp }) => {
      try {
        if (isWorthReporting(cause)) {
          Effect.runForkWith(fiber.context)(report(fromFiber(cause, fiber, Number(timestamp / 1_000_000n))))
        }
      } catch {
        // A cause that can't even be looked at is no reason to fail whoever reported it.
      }
    }
  }
  bridges.add(self)
  return self
}

const isWorthReporting = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) =>
    !Cause.isInterruptReason(reason) &&
    !ErrorReporter.isIgnored(Cause.isFailReason(reason) ? reason.error : reason.defect)
  )

const fromFiber = (
  cause: Cause.Cause<unknown>,
  fiber: Fiber.Fiber<unknown, unknown>,
  time: number
): Report.Report => {
  const request = Context.getOrUndefined(fiber.context, HttpServerRequest.HttpServerRequest)
  const span = Context.getOrUndefined(fiber.context, Tracer.ParentSpan)
  return Report.make({
    cause,
    time,
    method: request?.method,
    route: Context.getOrUndefined(fiber.context, HttpRouter.RouteContext)?.route.path,
    path: request?.url,
    phase: request === undefined ? "background" : "handler",
    notes: annotated(cause),
    ...(request === undefined ? undefined : { headers: request.headers }),
    ...(span === undefined
      ? undefined
      : { trace: { traceId: span.traceId, spanId: span.spanId, sampled: span.sampled } })
  })
}

/** What the error itself wants reporters to know. */
const annotated = (cause: Cause.Cause<unknown>): Readonly<Record<string, unknown>> => {
  const error = Cause.squash(cause)
  return typeof error === "object" && error !== null ? ErrorReporter.getAttributes(error) : {}
}
