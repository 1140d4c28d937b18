/** Runs one case and says what must not have happened. */
import type { Case, Outcome, RequestCase, ResponseCase } from "./cases.ts"
import { judge, type Verdict } from "./oracle.ts"
import { malformed, readLoosely, readResponse, type Request, type Response, values } from "./reader.ts"
import { type Rig, scripted } from "./rig.ts"
import { connect, turns, type Wire, within } from "./wire.ts"

/** No exchange may take longer; every clock of the rig is shorter. */
const hang = 3000

/** Turns of the event loop after which what was written in this process has been read. */
const settled = 4

const show = (text: string): string => JSON.stringify(text.length > 1600 ? `${text.slice(0, 1600)}…` : text)

let serial = 0

/** A request of its own gets its own answer: nothing of an exchange before it is left on any connection. */
const plain = async (rig: Rig, kept: Wire | undefined): Promise<ReadonlyArray<string>> => {
  const target = `/plain/${serial++}`
  const wire = kept ?? await connect(rig.port)
  const from = wire.text.length
  wire.socket.write(`GET ${target} HTTP/1.1\r\nHost: shop.test\r\n\r\n`, "latin1")
  const read = () => readResponse(wire.text, from, "GET")
  await wire.until(() => typeof read() !== "string" || wire.ended !== undefined, hang)
  const response = read()
  wire.socket.destroy()
  const nothing = wire.text.length === from
  if (kept !== undefined && nothing && wire.ended !== undefined) return plain(rig, undefined)
  if (typeof response !== "string" && response.status === 200 && response.body === `GET ${target}`) return []
  return [`the next request (${kept === undefined ? "new" : "same"} connection) got ${show(wire.text.slice(from))}`]
}

// -- Responses ---------------------------------------------------------------------------------------------------------

/** An answer of the proxy's own: scripts never send this field. */
const isOwn = (response: Response): boolean => values(response.fields, "proxy-status").length > 0

const startOf = ({ method, version }: ResponseCase): string => {
  const body = method === "POST" ? "Content-Length: 3\r\n\r\nabc" : "\r\n"
  return `${method} ${scripted} HTTP/${version}\r\nHost: shop.test\r\n${body}`
}

/** What a client has at one moment. */
type View = Pick<Wire, "text" | "ended">

/** A whole response, nothing, or one that will not be whole. */
const received = ({ ended, text }: View, method: string): Response | "aborted" | typeof malformed => {
  const response = readResponse(text, 0, method)
  if (response === malformed) return malformed
  if (response === "more") return "aborted"
  return response.untilClose && ended !== "fin" ? "aborted" : response
}

const isOver = ({ ended, text }: View, method: string): boolean => {
  if (ended !== undefined) return true
  const response = readResponse(text, 0, method)
  return response === malformed || (response !== "more" && !response.untilClose)
}

/**
 * Differences to Node that are meant:
 * - The content of a 205 is dropped: there can't be any (RFC 9110, 15.3.6).
 * - What Node takes and we refuse (codings besides chunked, statuses over 599, HTTP/1.0 with a coding, equal lengths twice, …)
 *   is a 502, which is always allowed.
 * - Framing fields among the trailers are dropped, as a recipient may (RFC 9110, 6.5.1), where Node refuses them.
 * - White space behind a value is no part of it (RFC 9110, 5.5), where Node takes a coding with a tab behind it for another one.
 * - After an interim response of HTTP/1.0, or one with `Connection: close`, Node takes the connection for closed. It is the final
 *   response that says so (RFC 9110, 15.2).
 * - After a reset a body that only the closing ends is cut off, where a plain end makes it whole.
 */
const compare = (test: ResponseCase, got: Response, verdict: Verdict): ReadonlyArray<string> => {
  if (got.status === 205) return got.body === "" ? [] : [`a 205 with content: ${show(got.body)}`]
  if (verdict._tag === "Truncated") return [`whole for the client (${got.status}), truncated for Node`]
  if (verdict._tag === "Refused") return [`whole for the client (${got.status}), refused by Node: ${verdict.code}`]
  if (got.status !== verdict.status) return [`status ${got.status}, Node has ${verdict.status}`]
  if (got.body !== verdict.body) return [`body ${show(got.body)}, Node has ${show(verdict.body)}`]
  return test.ending === "rst" && verdict.untilClose ? ["a body that was reset looks whole"] : []
}

const judgeResponse = async (rig: Rig, test: ResponseCase, view: View): Promise<Judgement> => {
  const got = received(view, test.method)
  if (got === "aborted") return { findings: [] }
  if (got === malformed) return { findings: [`the client got ${show(view.text)}`] }
  const after = view.text.slice(got.end)
  if (after !== "") return { findings: [`after the response: ${show(after)}`] }
  if (isOwn(got)) return { findings: got.status === 502 || got.status === 504 ? [] : [`answered with ${got.status}`] }
  const verdict = await judge(rig.upstream, test)
  const findings = compare(test, got, verdict)
  const writes = closedByInterim(verdict) ? withoutInterim(test.writes) : inNodesTerms(test.writes)
  if (findings.length === 0 || writes === undefined) return { findings }
  return { findings: compare(test, got, await judge(rig.upstream, { ...test, writes })) }
}

type Judgement = Pick<Outcome, "findings">

/** Up to a framing field between the last chunk and the end of the trailer section. */
const framingTrailer = /^([^]*\r\n0+(?:;[^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*)(?:content-length|transfer-encoding):/i

/** A coding with white space behind it. */
const looseCoding = /^(transfer-encoding:[^\r\n]*?)[\t ]+\r\n/gim

/** The same bytes with another name for such trailers and without such white space, if there are any. */
const inNodesTerms = (writes: ReadonlyArray<string>): ReadonlyArray<string> | undefined => {
  const text = writes.join("")
  let renamed = text.replace(looseCoding, "$1\r\n")
  while (framingTrailer.test(renamed)) renamed = renamed.replace(framingTrailer, "$1x-framing:")
  return renamed === text ? undefined : [renamed]
}

const closedByInterim = (verdict: Verdict): boolean =>
  verdict._tag === "Refused" && verdict.code === "HPE_CLOSED_CONNECTION"

const interim = /^HTTP\/1\.[01] 1(?!01)\d\d[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n/

/** The same bytes without the interim responses before the final one, if there are any. */
const withoutInterim = (writes: ReadonlyArray<string>): ReadonlyArray<string> | undefined => {
  const text = writes.join("")
  let rest = text
  while (interim.test(rest)) rest = rest.replace(interim, "")
  return rest === text ? undefined : [rest]
}

/** Whether the client may send another request on the connection. */
const reusable = (got: Response, ended: View["ended"], { version }: ResponseCase): boolean =>
  ended === undefined && version === "1.1" && got.status !== 101 &&
  !values(got.fields, "connection").some((value) => value.toLowerCase().includes("close"))

const checkResponse = async (rig: Rig, test: ResponseCase): Promise<Outcome> => {
  rig.upstream.start(test)
  const wire = await connect(rig.port)
  wire.socket.write(startOf(test), "latin1")
  const ends = () => isOver(wire, test.method)
  const early = await wire.until(ends, hang)
  const read = await within(rig.upstream.played, hang, "late")
  // As long as the upstream is writing, byte by byte it may be, the exchange may go on.
  const over = early || await wire.until(ends, hang)
  await turns(settled)
  const upstream = rig.upstream.requests.map(nameOf)
  const view: View = { text: wire.text, ended: wire.ended }
  const got = received(view, test.method)
  const next = await plain(rig, typeof got !== "string" && reusable(got, view.ended, test) ? wire : undefined)
  wire.socket.destroy()
  const late = [
    ...(over ? [] : [`no end within ${hang} ms: ${show(view.text)}`]),
    ...(read === "late" ? ["a connection to the upstream is neither read nor closed"] : [])
  ]
  const { findings, ...judgement } = await judgeResponse(rig, test, view)
  const seen = typeof got === "string" ? "aborted" as const : got.status
  const body = typeof got === "string" ? "" : got.body
  return { ...judgement, findings: [...late, ...next, ...findings], seen: [seen], body, upstream }
}

const nameOf = ({ method, target }: Request): string => `${method} ${target}`

// -- Requests ----------------------------------------------------------------------------------------------------------

/** How long a client that waits gives a proxy that may be waiting, too. */
const patience = 100

/** The target as it is sent on: without the authority of the absolute form (RFC 9112, 3.2.1). */
const originForm = ({ method, target }: Request): string => {
  // RFC 9112, 3.2.4.
  if (method === "OPTIONS" && /^https?:\/\/[^/?#]*$/i.test(target)) return "*"
  const path = target.replace(/^https?:\/\/[^/?#]*/i, "")
  return path.startsWith("/") || path === "*" ? path : `/${path}`
}

/** All whole responses; those after the last legitimate request are not to a HEAD. */
const readResponses = (
  text: string,
  sent: ReadonlyArray<Request>
): { readonly responses: ReadonlyArray<Response>; readonly malformed: boolean } => {
  const responses: Array<Response> = []
  for (let at = 0; at < text.length;) {
    const response = readNext(text, at, sent[responses.length]?.method ?? "GET")
    if (response === "more") break
    if (response === malformed) return { responses, malformed: true }
    responses.push(response)
    at = response.end
    if (response.status === 101) break
  }
  return { responses, malformed: false }
}

/**
 * A refusal may come with a body or without: the client may have meant a HEAD, and the server may not have got as far as
 * reading the method. What fits is taken: the end of all bytes, or the beginning of another response.
 */
const readNext = (text: string, at: number, method: string): ReturnType<typeof readResponse> => {
  const response = readResponse(text, at, method)
  const head = readResponse(text, at, "HEAD")
  if (typeof head === "string" || head.status < 400) return response
  const fits = ({ end }: Response): boolean => end === text.length || text.startsWith("HTTP/1.1 ", end)
  return [response, readResponse(text, at, "GET"), head].find((one) => typeof one !== "string" && fits(one)) ?? response
}

/** What reached the upstream must be what was sent, each at most once; pipelined ones may overtake each other on their way. */
const compareRequests = (sent: ReadonlyArray<Request>, seen: ReadonlyArray<Request>): ReadonlyArray<string> => {
  const left = [...sent]
  return seen.flatMap((request) => {
    const isIt = (one: Request): boolean =>
      one.method === request.method && originForm(one) === request.target && one.body === request.body
    const at = left.findIndex(isIt)
    if (at === -1) return [`nobody sent ${show(nameOf(request))} with body ${show(request.body)}`]
    left.splice(at, 1)
    return []
  })
}

/** A 200 is the upstream's: it says what it answers. */
const compareResponses = (sent: ReadonlyArray<Request>, got: ReadonlyArray<Response>): ReadonlyArray<string> =>
  got.flatMap((response, i) => {
    const request = sent[i]
    if (response.status !== 200) return []
    if (request === undefined) return [`response ${i} is to nothing that was sent`]
    if (request.method === "HEAD" || response.body === `${request.method} ${originForm(request)}`) return []
    return [`${show(nameOf(request))} was answered with ${show(response.body)}`]
  })

/** Nothing of a case goes on when its client has gone: looked at until it is so, or long enough. */
const allEnds = async ({ active, upstream }: Rig): Promise<ReadonlyArray<string>> => {
  const until = performance.now() + hang
  while ((upstream.unfinished > 0 || active() > 0) && performance.now() < until) await turns(1)
  return [
    ...(upstream.unfinished === 0 ? [] : ["a request that will never be whole is left open at the upstream"]),
    ...(active() === 0 ? [] : ["an exchange goes on without its client"])
  ]
}

const checkRequest = async (rig: Rig, test: RequestCase): Promise<Outcome> => {
  const { requests: sent } = readLoosely(test.writes.join(""))
  rig.upstream.start()
  const wire = await connect(rig.port)
  await wire.play(test.writes, test.ending)
  const answered = (): boolean =>
    wire.ended !== undefined ||
    (sent.length > 0 && readResponses(wire.text, sent).responses.length >= sent.length)
  if (test.ending === "open") {
    await wire.until(answered, patience)
    await turns(settled)
    wire.socket.end()
  }
  const over = await wire.until(() => wire.ended !== undefined, hang)
  wire.socket.destroy()
  const got = readResponses(wire.text, sent)
  const refused = rig.upstream.malformed
  const seen = [...rig.upstream.requests]
  const findings = [
    ...(over ? [] : [`the connection was not closed within ${hang} ms: ${show(wire.text)}`]),
    ...(got.malformed ? [`the client got ${show(wire.text)}`] : []),
    ...refused.map((text) => `the upstream got ${show(text)}`),
    ...compareRequests(sent, seen),
    ...compareResponses(sent, got.responses),
    ...await plain(rig, undefined)
  ]
  const seenStatuses = got.responses.map(({ status }) => status)
  return {
    findings,
    seen: seenStatuses.length === 0 ? ["aborted"] : seenStatuses,
    body: got.responses.at(-1)?.body ?? "",
    upstream: seen.map(nameOf)
  }
}

export const check = async (rig: Rig, test: Case): Promise<Outcome> => {
  const outcome = await (test.kind === "response" ? checkResponse(rig, test) : checkRequest(rig, test))
  return { ...outcome, findings: [...outcome.findings, ...await allEnds(rig)] }
}
