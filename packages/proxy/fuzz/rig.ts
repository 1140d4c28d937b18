/** What a case runs against: our proxy, in process, before an upstream that plays scripts and records what reaches it. */
import * as Middleware from "@sluice/core/Middleware"
import * as NodeServer from "@sluice/core/NodeServer"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as Scope from "effect/Scope"
import * as net from "node:net"
import * as Proxy from "../src/Proxy.ts"
import * as Upstream from "../src/Upstream.ts"
import type { ResponseCase } from "./cases.ts"
import { readRequests, type Request } from "./reader.ts"
import { Wire } from "./wire.ts"

/** `direct` writes to the client in the transport's callbacks; `value` passes a response through the stack. */
export type Path = "direct" | "value"

class Origin extends Upstream.Service<Origin>()("fuzz/Origin") {}

/** The path that the script is played to; everything else is answered with method and target. */
export const scripted = "/case"

/** A connection to the upstream, as far as it was read. */
interface Inbound {
  readonly wire: Wire
  read: number
}

/** The upstream's side. */
export class Recorder {
  readonly server: net.Server
  /** Complete requests since {@link Recorder.start}. */
  requests: Array<Request> = []
  /** What reached it and is no request. */
  malformed: Array<string> = []
  /** Settles when the script that was begun last has been played. */
  played: Promise<void> = Promise.resolve()
  private readonly inbound = new Set<Inbound>()
  private script: Pick<ResponseCase, "writes" | "ending"> | undefined

  constructor() {
    this.server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.accept(socket))
  }

  get port(): number {
    // Sound: it listens on TCP before anyone asks.
    return (this.server.address() as net.AddressInfo).port
  }

  /** Forgets what was recorded, and takes a script for the case that begins. */
  start(script?: Pick<ResponseCase, "writes" | "ending">): void {
    this.script = script
    this.requests = []
    this.malformed = []
    this.played = Promise.resolve()
  }

  /** Requests that have begun and are not whole, on connections that are still open. */
  get unfinished(): number {
    return [...this.inbound].filter(({ read, wire }) => wire.ended === undefined && wire.text.length > read).length
  }

  destroy(): void {
    for (const { wire } of this.inbound) wire.socket.destroy()
  }

  private accept(socket: net.Socket): void {
    const inbound: Inbound = { wire: new Wire(socket), read: 0 }
    this.inbound.add(inbound)
    socket.on("data", () => this.read(inbound))
    socket.on("end", () => socket.end())
    socket.on("close", () => this.inbound.delete(inbound))
  }

  private read(inbound: Inbound): void {
    const { wire } = inbound
    const { requests, rest, stopped } = readRequests(wire.text, inbound.read)
    inbound.read = wire.text.length - rest.length
    for (const request of requests) this.answer(wire, request)
    if (stopped !== "malformed") return
    this.malformed.push(rest)
    wire.socket.destroy()
  }

  private answer(wire: Wire, request: Request): void {
    this.requests.push(request)
    if (this.script !== undefined && request.target === scripted) {
      this.played = wire.play(this.script.writes, this.script.ending)
      return
    }
    const body = request.method === "HEAD" ? "" : `${request.method} ${request.target}`
    wire.socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`, "latin1")
  }
}

export interface Rig {
  readonly path: Path
  /** Where the proxy listens. */
  readonly port: number
  readonly upstream: Recorder
  /** Requests that the proxy is answering now. */
  readonly active: () => number
}

const recorder = Effect.acquireRelease(
  Effect.callback<Recorder>((resume) => {
    const upstream = new Recorder()
    upstream.server.listen(0, "127.0.0.1", () => resume(Effect.succeed(upstream)))
  }),
  (upstream) =>
    Effect.callback<void>((resume) => {
      upstream.server.close(() => resume(Effect.void))
      upstream.destroy()
    })
)

const through = { direct: Middleware.identity, value: Middleware.around("value", (handler) => handler) }

/** Long enough for a busy machine, short enough that a peer that waits is not taken for one that hangs. */
const upstreamClocks = { connect: "1 second", responseHead: "1 second", bodyIdle: "1 second" } as const
const clientClocks = { requestHead: "2 seconds", request: "2 seconds", checkInterval: "200 millis" } as const

/** A proxy and its upstream, each with connections of their own. */
export const make = Effect.fnUntraced(function*(path: Path) {
  const upstream = yield* recorder
  const targets = [`http://127.0.0.1:${upstream.port}`]
  const routes = Route.all("/*", through[path], Proxy.forward(Origin))
  const proxy = Server.layer(routes, { health: false, drain: { delay: 0, deadline: "1 second" } }).pipe(
    Layer.provide(Origin.layer({ targets, clocks: upstreamClocks })),
    Layer.provide(NodeServer.layer({ port: 0, clocks: clientClocks })),
    // Thousands of failures are the point; each is looked at from outside.
    Layer.provide(Logger.layer([]))
  )
  const { active, port } = Context.get(yield* Layer.build(proxy), Server.Server)
  const rig: Rig = { path, port, upstream, active: () => Effect.runSync(active) }
  return rig
})

/** Both ways in which a response can travel. */
export const both: Effect.Effect<ReadonlyArray<Rig>, NodeServer.ListenError, Scope.Scope> = Effect.all([
  make("direct"),
  make("value")
])
