/**
 * Sends Effect's metrics to a StatsD or DogStatsD agent, in UDP datagrams.
 *
 * **When to use** Give the layer to the program: everything in the metric registry is sent, `Metrics` of this package as
 * well as the application's own.
 *
 * **Details** At each interval, and when the scope closes, what has changed since the last time is sent: counters,
 * frequencies, and `.count` and `.sum` of histograms and summaries as counters (`c`) by what was added, so, too, `.bucket` of
 * a histogram by its upper bound (`le`); gauges (`g`) as they are. Lines are packed into datagrams of at most
 * {@link Options.maxDatagramSize} bytes. Attributes are tags (`|#http.route:/orders/:id,…`) in DogStatsD's format; plain
 * StatsD has none, so there the values become parts of the name.
 *
 * UDP says nothing about what arrives: an agent that is away changes nothing for the program. A host that can't be resolved
 * or a socket that fails is logged once, as a warning.
 *
 * **Gotchas** Values that were recorded between two intervals are added up by Effect before they are sent, so the agent
 * gets buckets, not single timings.
 *
 * @see https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/
 * @see https://github.com/statsd/statsd/blob/master/docs/metric_types.md
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import { createSocket } from "node:dgram"
import type { Socket } from "node:dgram"
import { isIPv6 } from "node:net"
import { requireCount, requireDuration, requireOneOf } from "./internal/options.ts"
import { linesOf, packed } from "./internal/statsd.ts"
import type { Line, Totals } from "./internal/statsd.ts"

/**
 * Settings of {@link layer}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** @default "127.0.0.1" */
  readonly host?: string
  /** @default 8125 */
  readonly port?: number
  /** @default "dogstatsd" */
  readonly format?: "dogstatsd" | "statsd"
  /** Stands before every name, with a dot. @default none */
  readonly prefix?: string
  /** Tags of every line, such as `{ env: "production" }`; only DogStatsD has them. @default none */
  readonly tags?: Readonly<Record<string, string>>
  /** How often is sent. @default "10 seconds" */
  readonly flushInterval?: Duration.Input
  /** Bytes of a datagram, at most; what goes through any network unfragmented. @default 1432 */
  readonly maxDatagramSize?: number
}

/**
 * Sends all of Effect's metrics for as long as the scope is open, and once more when it closes.
 *
 * **Details** Throws a `RangeError` that names the option when one makes no sense.
 *
 * @example
 * ```ts
 * import { StatsD } from "@sluice/middleware"
 * import { Layer } from "effect"
 *
 * const Live = StatsD.layer({ host: "127.0.0.1", prefix: "shop", tags: { env: "production" } })
 * console.log(Layer.isLayer(Live)) // => true
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<never> => {
  const settings = resolve(options)
  return Layer.effectDiscard(Effect.gen(function*() {
    const socket = yield* Effect.acquireRelease(
      Effect.sync(() => createSocket(isIPv6(settings.host) ? "udp6" : "udp4")),
      (socket) => Effect.sync(() => socket.close())
    )
    let said = false
    const complain = (error: Error): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (said) return Effect.void
        said = true
        return Effect.logWarning(`metrics can't be sent to ${settings.host}:${settings.port}: ${error.message}`)
      })
    const context = yield* Effect.context<never>()
    // Without a listener an error of the socket would end the process.
    socket.on("error", (error) => void Effect.runForkWith(context)(complain(error)))
    const totals: Totals = new Map()
    const flush = Effect.suspend(() => send(socket, settings, lines(context, totals, settings))).pipe(
      Effect.catch(complain)
    )
    yield* Effect.addFinalizer(() => flush)
    yield* Effect.forkScoped(Effect.forever(Effect.delay(flush, settings.flushInterval)))
  }))
}

interface Settings {
  readonly host: string
  readonly port: number
  readonly format: "dogstatsd" | "statsd"
  readonly prefix: string
  readonly tags: Readonly<Record<string, string>>
  readonly flushInterval: number
  readonly maxDatagramSize: number
}

const resolve = (options: Options): Settings => {
  const port = requireCount("port", options.port ?? 8125, 1)
  if (port > 65_535) throw new RangeError(`port must be at most 65535, got ${port}`)
  return {
    host: options.host ?? "127.0.0.1",
    port,
    format: requireOneOf("format", options.format ?? "dogstatsd", ["dogstatsd", "statsd"]),
    prefix: options.prefix === undefined ? "" : `${options.prefix}.`,
    tags: options.tags ?? {},
    flushInterval: requireDuration("flushInterval", options.flushInterval ?? "10 seconds"),
    maxDatagramSize: requireCount("maxDatagramSize", options.maxDatagramSize ?? 1432, 1)
  }
}

const lines = (context: Context.Context<never>, totals: Totals, settings: Settings): ReadonlyArray<Line> =>
  linesOf(Metric.snapshotUnsafe(context), totals, settings)

const send = (
  socket: Socket,
  { host, maxDatagramSize, port }: Settings,
  lines: ReadonlyArray<Line>
): Effect.Effect<void, Error> =>
  Effect.forEach(
    packed(lines, maxDatagramSize),
    (datagram) =>
      Effect.callback<void, Error>((resume) =>
        socket.send(datagram, port, host, (error) => resume(error === null ? Effect.void : Effect.fail(error)))
      ),
    { discard: true }
  )
