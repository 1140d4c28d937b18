/**
 * The Node server under `Server`: where it listens, what it accepts, how long it waits.
 *
 * **When to use** Provide {@link layer} (or {@link layerConfig}, which reads the environment) under `Server.layer`. The defaults
 * are safe on the open internet: every limit and clock is on.
 *
 * **Details** Requests that Node's parser lets through but RFC 9112 does not (two `Host` fields, a transfer coding other than
 * `chunked`, `HTTP/2.0` in a request line, …) are answered here and never reach an app. So are malformed ones: with a
 * valid response, and a connection that is closed afterwards.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { ServerOptions as TlsServerOptions } from "node:https"
import { requireDuration, requireInteger } from "./internal/options.ts"
import * as Platform from "./internal/platform.ts"

/**
 * What a request may be at most.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  /** Bytes of the request head; more is answered with 431, or 414 when the target alone is longer. @default 16384 */
  readonly headBytes?: number
  /** Header fields; more is answered with 431. @default 100 */
  readonly fieldCount?: number
  /** Characters of the request target; more is answered with 414. @default 8192 */
  readonly targetLength?: number
  /** Requests a connection; 0 is any number. @default 0 */
  readonly requestsPerConnection?: number
}

/**
 * How long a server waits for its clients.
 *
 * @category models
 * @since 0.1.0
 */
export interface Clocks {
  /** For a complete request head, from the first byte; then 408. @default "60 seconds" */
  readonly requestHead?: Duration.Input
  /** For a complete request with its body; then 408, or an abort. @default "5 minutes" */
  readonly request?: Duration.Input
  /** For the next request on an idle connection; then it is closed. @default "5 seconds" */
  readonly keepAlive?: Duration.Input
  /** How often the first two are looked at. @default "1 second" */
  readonly checkInterval?: Duration.Input
}

/**
 * Settings of a server.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** 0 takes any free port. @default 3000 */
  readonly port?: number
  /** The address to bind. @default "127.0.0.1": say "0.0.0.0" or "::" to be reachable from elsewhere */
  readonly host?: string
  /** A Unix socket, instead of host and port. */
  readonly path?: string
  /** Serves TLS with these settings. @default plain HTTP */
  readonly tls?: TlsServerOptions
  readonly limits?: Limits
  readonly clocks?: Clocks
}

/**
 * Settings with their defaults filled in and their durations in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Resolved {
  readonly listen: { readonly port: number; readonly host: string } | { readonly path: string }
  readonly tls: TlsServerOptions | undefined
  readonly limits: Required<Limits>
  readonly clocks: { readonly [K in keyof Required<Clocks>]: number }
}

/**
 * The server's settings as a service.
 *
 * @category services
 * @since 0.1.0
 */
export class NodeServer extends Context.Service<NodeServer, Resolved>()("@sluice/core/NodeServer") {}

/**
 * The server could not listen: the port is taken, the address is not this machine's, or it takes privileges.
 *
 * @category errors
 * @since 0.1.0
 */
export class ListenError extends Data.TaggedError("ListenError")<{
  readonly code: string
  readonly address: string
  readonly cause: unknown
}> {
  override get message(): string {
    const why = reasons[this.code] ?? this.code
    return `cannot listen on ${this.address}: ${why}`
  }
}

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: "something is listening there already",
  EADDRNOTAVAIL: "the address is not one of this machine's",
  EACCES: "not permitted"
}

/**
 * Checks settings and fills in the defaults. Throws a `RangeError` that names the field that is out of range.
 *
 * @category constructors
 * @since 0.1.0
 */
export const resolve = (options: Options = {}): Resolved => ({
  listen: options.path === undefined
    ? { port: requireInteger("port", options.port ?? 3000, 0, 65535), host: options.host ?? "127.0.0.1" }
    : { path: options.path },
  tls: options.tls,
  limits: {
    headBytes: requireInteger("limits.headBytes", options.limits?.headBytes ?? 16384, 256),
    fieldCount: requireInteger("limits.fieldCount", options.limits?.fieldCount ?? 100, 1),
    targetLength: requireInteger("limits.targetLength", options.limits?.targetLength ?? 8192, 1),
    requestsPerConnection: requireInteger("limits.requestsPerConnection", options.limits?.requestsPerConnection ?? 0, 0)
  },
  clocks: {
    requestHead: requireDuration("clocks.requestHead", options.clocks?.requestHead ?? "60 seconds"),
    request: requireDuration("clocks.request", options.clocks?.request ?? "5 minutes"),
    keepAlive: requireDuration("clocks.keepAlive", options.clocks?.keepAlive ?? "5 seconds"),
    checkInterval: requireDuration("clocks.checkInterval", options.clocks?.checkInterval ?? "1 second")
  }
})

/**
 * The server's settings, and the platform services that Effect's own routes, `HttpApi` layers and files need.
 *
 * @example
 * ```ts
 * import { NodeServer } from "@sluice/core"
 *
 * try {
 *   NodeServer.layer({ port: 70000 })
 * } catch (error) {
 *   console.log(String(error)) // => RangeError: port must be an integer from 0 to 65535, got 70000
 * }
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<NodeServer | Platform.Platform> =>
  Layer.merge(Layer.succeed(NodeServer)(resolve(options)), Platform.layer)

/**
 * {@link layer} with `PORT` and `HOST` from the configuration (the environment, unless a `ConfigProvider` says otherwise).
 * A `PORT` of 0 takes any free port.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options?: Omit<Options, "port" | "host" | "path">
): Layer.Layer<NodeServer | Platform.Platform, Config.ConfigError> =>
  Layer.unwrap(Effect.map(
    Config.all({
      port: Config.schema(Schema.Port, "PORT").pipe(Config.withDefault(3000)),
      host: Config.String("HOST").pipe(Config.withDefault("127.0.0.1"))
    }),
    (listen) => layer({ ...options, ...listen })
  ))
