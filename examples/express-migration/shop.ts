/** What the shop knows, without a word of HTTP: the same before, during and after the migration. */
import { randomUUID } from "node:crypto"

export interface Book {
  readonly id: number
  readonly title: string
  readonly cents: number
}

export interface Line {
  readonly book: number
  readonly count: number
}

/** The books, and a cart for each session. It lives in one process, as the sessions do. */
export interface Shop {
  readonly books: ReadonlyArray<Book>
  readonly carts: Map<string, ReadonlyArray<Line>>
}

export const makeShop = (): Shop => ({
  books: [
    { id: 1, title: "The Dispossessed", cents: 1200 },
    { id: 2, title: "Invisible Cities", cents: 950 }
  ],
  carts: new Map()
})

export const newSession = (): string => randomUUID()

/** The cookie of a session. */
export const cookieName = "session"
export const setCookie = (session: string): string => `${cookieName}=${session}; Path=/; HttpOnly; SameSite=Lax`

/** The session in a `Cookie` field, if the shop has made it. */
export const sessionIn = (shop: Shop, cookies: string | undefined): string | undefined => {
  const [, session] = /(?:^|; )session=([^;]*)/.exec(cookies ?? "") ?? []
  return session !== undefined && shop.carts.has(session) ? session : undefined
}

/** The session of a request, and whether it is a new one. */
export const openSession = (
  shop: Shop,
  cookies: string | undefined
): { readonly id: string; readonly isNew: boolean } => {
  const known = sessionIn(shop, cookies)
  if (known !== undefined) return { id: known, isNew: false }
  const id = newSession()
  shop.carts.set(id, [])
  return { id, isNew: true }
}
