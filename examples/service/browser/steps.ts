/** What people and scripts do in a page. Scripts are texts: this program has no types of a browser's. */
import { Effect, Schema } from "effect"
import type { Page } from "playwright-core"
import type { World } from "./World.ts"

export const visit = (page: Page, url: string) => Effect.promise(() => page.goto(url))

export const evaluate = (page: Page, script: string): Effect.Effect<unknown> =>
  Effect.promise(() => page.evaluate(script))

/** What a script gets to see of a response; no status when the browser keeps it from the script. */
const Seen = Schema.Struct({
  status: Schema.optionalKey(Schema.Number),
  fields: Schema.Record(Schema.String, Schema.String)
})

/** Has a script of the page call an address. */
export const call = (page: Page, url: string, init: RequestInit = {}) =>
  Effect.flatMap(
    evaluate(
      page,
      `fetch(${JSON.stringify(url)}, ${JSON.stringify(init)}).then(
        ({ headers, status }) => ({ status, fields: Object.fromEntries(headers) }),
        () => ({ fields: {} })
      )`
    ),
    (seen) => Effect.orDie(Schema.decodeUnknownEffect(Seen)(seen))
  )

/** Signs in at the desk as somebody would. */
export const signIn = Effect.fnUntraced(function*(page: Page, url: string, token: string) {
  yield* visit(page, url)
  yield* Effect.promise(() => page.fill("[name=token]", token))
  yield* Effect.promise(() => page.click("#sign-in button"))
  yield* stateIs(page, "signed in")
})

/** Waits until the desk says so. */
export const stateIs = (page: Page, text: string) =>
  Effect.promise(() => page.waitForSelector(`#state:text-is("${text}")`))

/** Has a page send a form to an address, and returns the status of the answer. */
export const submitForm = (page: Page, action: string, values: Readonly<Record<string, string>>) =>
  Effect.promise(async () => {
    const answered = page.waitForResponse((response) => response.url() === action)
    await page.evaluate(`{
      const form = document.createElement("form")
      Object.assign(form, { method: "post", action: ${JSON.stringify(action)} })
      for (const [name, value] of Object.entries(${JSON.stringify(values)})) {
        form.append(Object.assign(document.createElement("input"), { name, value }))
      }
      document.body.append(form)
      form.submit()
    }`)
    return (await answered).status()
  })

const bearer = ({ ann }: World) => ({ authorization: `Bearer ${ann}` })

/** Asks the service for the ids of all orders, without a browser. */
export const orderIds = (world: World) =>
  Effect.promise(async (): Promise<ReadonlyArray<number>> => {
    const response = await fetch(`${world.url}/orders?limit=100`, { headers: bearer(world) })
    return Schema.decodeUnknownSync(Schema.Array(Schema.Struct({ id: Schema.Number })))(await response.json()).map(
      ({ id }) => id
    )
  })

/** What makes an order, as `fetch` takes it. */
export const order = (world: World, headers: Readonly<Record<string, string>> = {}): RequestInit => ({
  method: "POST",
  headers: { ...bearer(world), "content-type": "application/json", ...headers },
  body: "{\"sku\":\"tea\",\"quantity\":1}"
})

/** Places an order without a browser, and returns its id. */
export const place = (world: World) =>
  Effect.promise(async () => {
    const { headers } = await fetch(`${world.url}/orders`, order(world))
    return Number(headers.get("location")?.split("/").at(-1))
  })
