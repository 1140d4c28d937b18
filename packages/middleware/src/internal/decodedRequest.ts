import * as Headers from "effect/http/Headers"
import * as HttpServerRequest from "effect/http/HttpServerRequest"

type Request = HttpServerRequest.HttpServerRequest

/** What reads a body; everything else of a request is about its head or its connection. */
const accessors = ["arrayBuffer", "json", "multipart", "multipartStream", "stream", "text", "urlParamsBody"] as const

/** A request with another body, which is opened by who reads it, and whose head says nothing about how the body was sent. */
export const withBody = (request: Request, open: () => ReadableStream<Uint8Array>): Request => {
  const contentType = request.headers["content-type"]
  const body = HttpServerRequest.fromWeb(
    new globalThis.Request("http://localhost/", {
      method: "POST",
      body: lazy(open),
      duplex: "half",
      ...(contentType === undefined ? undefined : { headers: { "content-type": contentType } })
    })
  )
  return readingFrom(body, request)
}

/** What is open reads ahead, and so tells a client that expects a 100 to go on. */
const lazy = (open: () => ReadableStream<Uint8Array>): ReadableStream<Uint8Array> => {
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined
  return new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      reader ??= open().getReader()
      const { done, value } = await reader.read()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    cancel: (reason) => reader?.cancel(reason)
  }, { highWaterMark: 0 })
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
