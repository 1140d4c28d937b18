import * as Report from "@sluice/core/Report"
import * as Predicate from "effect/Predicate"

/** An error of a report's cause, the foremost first, with what it was raised from; neither endless nor cyclic. */
export const errorsOf = (report: Report.Report): readonly [Error, ...Array<Error>] => {
  const [first, ...others] = Report.toJson(report).errors.map(revive)
  return first === undefined ? [new Error("no cause")] : [first, ...others]
}

const revive = ({ cause, message, name, stack }: Report.JsonError): Error => {
  const error = new Error(message, cause === undefined ? undefined : { cause: revive(cause) })
  // Defined, not set: SDKs read them as they are, and the stack of this copy says nothing.
  Object.defineProperty(error, "name", { value: name, configurable: true, writable: true })
  Object.defineProperty(error, "stack", { value: stack ?? `${name}: ${message}`, configurable: true, writable: true })
  return error
}

/** An error and what it was raised from, itself first. */
export const chainOf = (error: Error): ReadonlyArray<Error> =>
  error.cause instanceof Error ? [error, ...chainOf(error.cause)] : [error]

/** Who asked, as trackers want it. */
export interface User {
  readonly id?: string
  readonly email?: string
  readonly username?: string
}

const textOf = (value: unknown): string | undefined =>
  typeof value === "string" ? value : typeof value === "number" || typeof value === "bigint" ? String(value) : undefined

/** The user, when there is one: a string or number is the id, of an object `id`, `email` and `username` or `name` are taken. */
export const userOf = ({ user }: Report.Report): User | undefined => {
  const id = textOf(user)
  if (id !== undefined) return { id }
  if (!Predicate.isObject(user)) return undefined
  return defined({
    id: textOf(user["id"]),
    email: textOf(user["email"]),
    username: textOf(user["username"] ?? user["name"])
  })
}

/** What happened before. */
export interface Breadcrumb {
  /** Milliseconds since 1970. */
  readonly time: number
  readonly message: string
  readonly category: string | undefined
}

const mostBreadcrumbs = 100

/** The note `breadcrumbs`: messages, or objects with `message`, and `time` and `category` if known. The last hundred. */
export const breadcrumbsOf = ({ notes, time }: Report.Report): ReadonlyArray<Breadcrumb> => {
  const list: unknown = notes["breadcrumbs"]
  if (!Array.isArray(list)) return []
  return list.slice(-mostBreadcrumbs).flatMap((one: unknown) => {
    if (typeof one === "string") return [{ time, message: one, category: undefined }]
    if (!Predicate.hasProperty(one, "message") || typeof one.message !== "string") return []
    const at = Predicate.hasProperty(one, "time") && typeof one.time === "number" ? one.time : time
    return [{
      time: at,
      message: one.message,
      category: Predicate.hasProperty(one, "category") ? textOf(one.category) : undefined
    }]
  })
}

/** The notes that are nothing else. */
export const notesOf = ({ notes: { breadcrumbs: _breadcrumbs, ...notes } }: Report.Report): Record<string, unknown> =>
  notes

/** `GET /orders/:id`, as far as it is known; of a job, its phase. */
export const whereOf = ({ method, phase, route }: Report.Report): string =>
  method === undefined ? phase : [method, route].filter((part) => part !== undefined).join(" ")

/** What one searches by. */
export const tagsOf = (report: Report.Report): Record<string, string> =>
  defined({
    "request.id": report.requestId,
    "http.route": report.route,
    "http.response.status_code": textOf(report.status),
    "trace.id": report.trace?.traceId,
    phase: report.phase,
    outcome: report.outcome
  })

export const defined = <A extends Readonly<Record<string, unknown>>>(
  record: A
): { [K in keyof A]?: Exclude<A[K], undefined> } & Record<string, Exclude<A[keyof A], undefined>> =>
  // Sound: the members that were `undefined` are gone.
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as never
