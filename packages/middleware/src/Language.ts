/**
 * Which of the application's languages a response should be in, as a typed service.
 *
 * **When to use** Around the routes whose responses have text for people in them, problem details included.
 *
 * **Details** Each range of `Accept-Language`, by falling weight, is looked up as RFC 4647, 3.4 has it: `de-CH` takes `de-CH`
 * or else `de`. A range that is the start of a supported tag takes that one, too: `pt` takes `pt-BR`. A language of weight 0
 * is not taken, `*` takes the first that is left, and otherwise it is `fallback`. `Content-Language` says what became of
 * it, unless the handler says so itself, and `Vary` has `Accept-Language`.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-12.5.4
 * @see https://www.rfc-editor.org/rfc/rfc4647#section-3.4
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import type { HeadEdit } from "@sluice/core/ResponseHead"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import { memo } from "./internal/memo.ts"
import { provided } from "./internal/provided.ts"
import { qualityValues } from "./internal/qualityValues.ts"
import { addVary } from "./internal/vary.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<Tag extends string> {
  /** Language tags such as `en`, `pt-BR`, `zh-Hant`; of two that go with a range the first is taken. */
  readonly supported: readonly [Tag, ...ReadonlyArray<Tag>]
  /** When no range goes with any of them. @default the first */
  readonly fallback?: Tag
}

/**
 * Provides the language as the service that is given, whose type says which there are.
 *
 * **Details** Throws a `RangeError` that names the option for what is no language tag, for a tag that comes twice, and for a
 * fallback that is not supported.
 *
 * @example
 * ```ts
 * import { Handler, RequestService, Route } from "@sluice/core"
 * import { Language } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * class Locale extends RequestService.Service<Locale, "en" | "de">()("app/Locale") {}
 * const greetings = { en: "hello", de: "hallo" }
 *
 * const Hello = Route.get(
 *   "/",
 *   Language.make(Locale, { supported: ["en", "de"] }),
 *   Effect.map(Locale, (locale) => HttpServerResponse.text(greetings[locale]))
 * )
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Hello)
 *   const headers = { "accept-language": "fr, de-CH;q=0.8, en;q=0.2" }
 *   const response = yield* Effect.promise(() => fetch(new Request("http://localhost/", { headers })))
 *   return `${yield* Effect.promise(() => response.text())} ${response.headers.get("content-language")}`
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => hallo de
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <I, Tag extends string>(
  service: Context.Key<I, Tag>,
  options: Options<NoInfer<Tag>>
): Middleware.Middleware<I, never, HttpServerRequest> => {
  const choose = chooser(options)
  const edits = new Map(options.supported.map((tag) => [tag, editOf(tag)]))
  return Middleware.make<I, never, HttpServerRequest>(
    "Language",
    <E, R>(handler: Handler<E, R>) =>
      Effect.withFiber((fiber) => {
        const exchange = Exchange.currentUnsafe(fiber)
        const tag = choose(Fields.getAll(exchange.requestFields, "accept-language").join(","))
        // Sound: there is an edit for each tag that can be chosen.
        Exchange.editHeadUnsafe(exchange, edits.get(tag)!)
        return provided(handler, service, tag)
      }),
    { response: "head" }
  )
}

const editOf = (tag: string): HeadEdit => (head) => {
  if (head.get("content-language") === undefined) head.set("content-language", tag)
  addVary(head, "Accept-Language")
}

/** The shape of RFC 5646, 2.1: subtags of letters and digits. */
const shape = /^[a-z]{1,8}(?:-[a-z\d]{1,8})*$/i

const chooser = <Tag extends string>({ fallback, supported }: Options<Tag>): (field: string) => Tag => {
  for (const tag of supported) {
    if (!shape.test(tag)) throw new RangeError(`supported must be language tags, got ${JSON.stringify(tag)}`)
  }
  const tags = supported.map((tag) => [tag.toLowerCase(), tag] as const)
  if (new Set(tags.map(([lower]) => lower)).size < tags.length) {
    throw new RangeError(`supported must not have a tag twice, got ${supported.join(", ")}`)
  }
  const otherwise = fallback ?? supported[0]
  if (!supported.includes(otherwise)) {
    throw new RangeError(`fallback must be one of ${supported.join(", ")}, got ${otherwise}`)
  }
  const chosen = memo((field) => choose(tags, field) ?? otherwise)
  return (field) => field === "" ? otherwise : chosen(field)
}

const choose = <Tag extends string>(
  tags: ReadonlyArray<readonly [lower: string, tag: Tag]>,
  field: string
): Tag | undefined => {
  const ranges = qualityValues(field)
  const refused = new Set(ranges.filter(({ weight }) => weight === 0).map(({ value }) => value))
  const left = tags.filter(([lower]) => !refused.has(lower))
  for (const { value, weight } of ranges) {
    if (weight === 0) return undefined
    const found = value === "*" ? left[0] : lookUp(left, value)
    if (found !== undefined) return found[1]
  }
  return undefined
}

/** Each step of a look-up takes one subtag off, and no language has more characters than this. */
const longestRange = 64

const lookUp = <A extends readonly [lower: string, ...unknown: ReadonlyArray<unknown>]>(
  tags: ReadonlyArray<A>,
  range: string
): A | undefined => {
  if (range.length > longestRange) return undefined
  const exact = (range: string) => tags.find(([lower]) => lower === range)
  const narrower = exact(range) ?? tags.find(([lower]) => lower.startsWith(`${range}-`))
  if (narrower !== undefined) return narrower
  for (let prefix = shortened(range); prefix !== ""; prefix = shortened(prefix)) {
    const wider = exact(prefix)
    if (wider !== undefined) return wider
  }
  return undefined
}

/** Without its last subtag, nor a single letter before that, which only says what kind the last one is of. */
const shortened = (range: string): string => {
  const subtags = range.split("-").slice(0, -1)
  return (subtags.at(-1)?.length === 1 ? subtags.slice(0, -1) : subtags).join("-")
}
