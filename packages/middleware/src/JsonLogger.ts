/**
 * Log entries as JSON, a line each: the lines of Effect's `Logger.formatJson`, for less.
 *
 * **When to use** In place of `Logger.consoleJson` where much is logged, such as a line for each request. Whatever reads
 * those lines reads these.
 *
 * **Details** An entry of one text with plain annotations (texts, numbers, booleans), which is what `AccessLog` and most
 * programs write, is put together at once. Any other, with a cause, spans, objects or secrets in it, is left to Effect's
 * own logger.
 *
 * @since 0.1.0
 */
import type * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import { perSecond } from "./internal/perSecond.ts"

/**
 * An entry as a line.
 *
 * @example
 * ```ts
 * import { JsonLogger } from "@sluice/middleware"
 * import { Effect, Logger } from "effect"
 *
 * const lines: Array<string> = []
 * const Lines = Logger.layer([Logger.map(JsonLogger.format, (line) => lines.push(line))])
 * Effect.runSync(Effect.provide(Effect.logInfo("ready").pipe(Effect.annotateLogs("port", 8080)), Lines))
 * const { annotations, level, message } = JSON.parse(lines[0])
 * console.log(level, message, annotations.port) // => INFO ready 8080
 * ```
 *
 * @category formatters
 * @since 0.1.0
 */
export const format: Logger.Logger<unknown, string> = Logger.make((options) => plainLine(options) ?? any.log(options))

/**
 * Writes lines of {@link format} to the console, in place of the loggers that are there.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<never> = Logger.layer([Logger.withConsoleLog(format)])

const any = Logger.formatJson

const plainLine = ({ cause, date, fiber, logLevel, message }: Logger.Options<unknown>): string | undefined => {
  const text = Array.isArray(message) && message.length === 1 ? message[0] : message
  if (typeof text !== "string" || cause.reasons.length > 0) return undefined
  if (fiber.getRef(References.CurrentLogSpans).length > 0) return undefined
  const annotations = fiber.getRef(References.CurrentLogAnnotations)
  if (!isPlain(annotations)) return undefined
  return `{"message":${JSON.stringify(text)},"level":"${logLevel.toUpperCase()}","timestamp":"${isoOf(date)}",` +
    `"annotations":${JSON.stringify(annotations)},"spans":{},"fiberId":"#${fiber.id}"}`
}

/** `2026-11-20T21:06:10.123Z`. */
const isoOf = (date: Date): string => {
  const time = date.getTime()
  return `${untilDot(time)}.${String(time - Math.floor(time / 1000) * 1000).padStart(3, "0")}Z`
}

const untilDot = perSecond((time) => new Date(time).toISOString().slice(0, -5))

/** Whether `JSON.stringify` alone says what Effect's formatter would. */
const isPlain = (annotations: Readonly<Record<string, unknown>>): boolean => {
  for (const key of Object.keys(annotations)) {
    const value = annotations[key]
    if (typeof value !== "string" && typeof value !== "number" && typeof value !== "boolean") return false
  }
  return true
}
