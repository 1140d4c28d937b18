import * as Headers from "effect/http/Headers"
import * as HttpServerRequest from "effect/http/HttpServerRequest"

type Request = HttpServerRequest.HttpServerRequest

/** What reads a body; everything else of a request is about its head or its connection. */
const accessors = ["arrayBuffer", "json", "multipart", "multipartStream", "stream", "text", "urlParamsBody"] as const

/** A request with another body: its accessors read `stream`, and its head says nothing about how the body was sent. */
export const withBody = (request: Request, stream: ReadableStream<Uint8Array>): Request => {
  const contentType = request.headers["content-type"]
  const body = HttpServerRequest.fromWeb(
    new globalThis.Request("http://localhost/", {
      method: "POST",
      body: stream,
      duplex: "half",
      ...(contentType === undefined ? undefined : { headers: { "content-type": contentType } })
    })
  )
  return readingFrom(body, request)
}

const readingFrom = (body: Request, request: Request): Request => {
  const headers = Headers.removeMany(request.headers, ["content-encoding", "content-length"])
  // Sound: a request in all but the properties that are defined here, each of the type it has there.
  return Object.create(request, {
    headers: { value: headers },
    modify: { value: (options: Parameters<Request["modify"]>[0]) => readingFrom(body, request.modify(options)) },
    ...Object.fromEntries(accessors.map((name) => [name, { get: () => body[name] }]))
  }) as Request
}
