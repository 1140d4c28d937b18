/** Hand-written upstreams on loopback, and what the transport's tests need around them. */
import type * as Fields from "@sluice/core/Fields"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as net from "node:net"
import * as tls from "node:tls"
import * as Body from "../../src/Body.ts"
import type * as ProxyError from "../../src/ProxyError.ts"
import * as Transport from "../../src/Transport.ts"

/** A server that does to each connection what its test says. */
export interface Upstream {
  readonly endpoint: Transport.Endpoint
  /** Every connection that was accepted, in order. */
  readonly sockets: ReadonlyArray<net.Socket>
  /** Everything that was received, by connection. */
  readonly received: ReadonlyArray<string>
  /** Resolves once there were `n` connections. */
  readonly accepted: (n: number) => Effect.Effect<void>
  /** Resolves once `n` connections have closed. */
  readonly closed: (n: number) => Effect.Effect<void>
  /** Resolves once what connection `n` has received satisfies the predicate. */
  readonly until: (n: number, predicate: (text: string) => boolean) => Effect.Effect<void>
}

export interface Options {
  readonly tls?: tls.TlsOptions
  readonly onConnection?: (socket: net.Socket, n: number) => void
  /** Called for each complete request head, with how many came before it on this connection. */
  readonly onRequest?: (socket: net.Socket, head: string, n: number, connection: number) => void
}

export const upstream = (options: Options): Effect.Effect<Upstream, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(Effect.promise(() => listen(options)), (running) => running.close),
    (running) => running.upstream
  )

/** Answers every request with these bytes. */
export const answering = (...parts: ReadonlyArray<string>): Effect.Effect<Upstream, never, Scope.Scope> =>
  upstream({ onRequest: (socket) => parts.forEach((part) => socket.write(part, "latin1")) })

/** Answers every request with these bytes, then FIN. */
export const ending = (bytes: string): Effect.Effect<Upstream, never, Scope.Scope> =>
  upstream({ onRequest: (socket) => socket.end(bytes, "latin1") })

interface Running {
  readonly upstream: Upstream
  readonly close: Effect.Effect<void>
}

const listen = (options: Options) =>
  new Promise<Running>((resolve) => {
    const sockets: Array<net.Socket> = []
    const received: Array<string> = []
    let closed = 0
    const waiters = new Set<() => void>()
    const notify = () => waiters.forEach((waiter) => waiter())
    const wait = (condition: () => boolean) =>
      Effect.callback<void>((resume) => {
        const check = () => {
          if (!condition()) return
          waiters.delete(check)
          resume(Effect.void)
        }
        waiters.add(check)
        check()
      })
    const onConnection = (socket: net.Socket) => {
      const n = sockets.push(socket) - 1
      received.push("")
      let heads = 0
      let rest = ""
      socket.on("error", () => {})
      socket.on("close", () => {
        closed += 1
        notify()
      })
      socket.on("data", (data: Buffer) => {
        const text = data.toString("latin1")
        received[n] += text
        rest += text
        for (
          let end = rest.indexOf("\r\n\r\n");
          end !== -1 && options.onRequest !== undefined;
          end = rest.indexOf("\r\n\r\n")
        ) {
          const head = rest.slice(0, end + 4)
          rest = rest.slice(end + 4)
          if (/^\S+ \S+ HTTP\/1\.1\r\n/.test(head)) options.onRequest(socket, head, heads++, n)
        }
        notify()
      })
      options.onConnection?.(socket, n)
      notify()
    }
    const server = options.tls === undefined
      ? net.createServer({ noDelay: true }, onConnection)
      : tls.createServer({ ...options.tls }, onConnection)
    server.on("tlsClientError", () => {})
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as net.AddressInfo
      resolve({
        upstream: {
          endpoint: { protocol: options.tls === undefined ? "http:" : "https:", hostname: "127.0.0.1", port },
          sockets,
          received,
          accepted: (n) => wait(() => sockets.length >= n),
          closed: (n) => wait(() => closed >= n),
          until: (n, predicate) => wait(() => predicate(received[n] ?? ""))
        },
        close: Effect.callback<void>((resume) => {
          for (const socket of sockets) socket.destroy()
          server.close(() => resume(Effect.void))
        })
      })
    })
  })

export const clocks: Transport.Clocks = {
  connect: "5 seconds",
  send: "20 seconds",
  responseHead: "30 seconds",
  bodyIdle: "60 seconds"
}

/** A request for `GET /` unless it says otherwise. */
export const request = (overrides: Partial<Transport.OutgoingRequest> = {}): Transport.OutgoingRequest => ({
  method: "GET",
  target: "/",
  fields: ["Host", "shop.test"],
  body: Body.empty,
  clocks,
  ...overrides
})

export const exchange = (
  to: Upstream | Transport.Endpoint,
  overrides: Partial<Transport.OutgoingRequest> = {}
): Effect.Effect<Transport.UpstreamResponse, ProxyError.TransportError, Transport.Transport | Scope.Scope> =>
  Effect.flatMap(
    Transport.Transport,
    (transport) => transport.exchange("endpoint" in to ? to.endpoint : to, request(overrides))
  )

export interface Collected {
  readonly text: string
  readonly trailers: Fields.Fields
}

/** Reads a body to its end, taking a copy of each chunk before it is released. */
export const collect = (
  response: Transport.UpstreamResponse
): Effect.Effect<Collected, ProxyError.Committed & { readonly text: string }> =>
  Effect.callback((resume) => {
    let text = ""
    response.body.consume({
      onData: (chunk, release) => {
        text += Buffer.from(chunk).toString("latin1")
        release()
        return true
      },
      onEnd: (trailers) => resume(Effect.succeed({ text, trailers })),
      onError: (error) => resume(Effect.fail(Object.assign(error, { text })))
    })
  })

/** One whole exchange in a scope of its own. */
export const call = (to: Upstream | Transport.Endpoint, overrides: Partial<Transport.OutgoingRequest> = {}) =>
  Effect.scoped(
    Effect.flatMap(
      exchange(to, overrides),
      (response) => Effect.map(collect(response), (collected) => ({ ...collected, status: response.status, response }))
    )
  )

/** Lets everything that is ready in the event loop happen. */
export const settle = Effect.promise(async () => {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
})

/** A consumer that writes down what it is told. */
export const recorder = (accept: (text: string) => boolean = () => true) => {
  const log: Array<string> = []
  const consumer: Transport.BodyConsumer = {
    onData: (chunk, release) => {
      const text = Buffer.from(chunk).toString("latin1")
      release()
      log.push(text)
      return accept(text)
    },
    onEnd: (trailers) => log.push(`end ${trailers.length}`),
    onError: (error) => log.push(error._tag)
  }
  return { log, consumer }
}
