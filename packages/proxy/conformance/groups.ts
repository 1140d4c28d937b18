/** The groups of the catalogue. */
const firsts = [
  [1, "hop-by-hop fields of requests"],
  [17, "hop-by-hop fields of responses"],
  [28, "forwarding fields and identity"],
  [47, "target, path and Host"],
  [73, "request bodies and framing"],
  [92, "smuggling and malformed requests"],
  [117, "framing of the upstream's responses"],
  [141, "HEAD, 204, 304, HTTP/1.0 and cookies"],
  [153, "aborts"],
  [168, "timeouts"],
  [183, "1xx and Expect"],
  [194, "trailers"],
  [202, "upgrades"],
  [223, "streaming and backpressure"],
  [234, "retries, connections to the upstream and balancing"],
  [257, "limits, lifecycle and HTTP/2"]
] as const

/** A group of numbers, in their order. */
export interface Group {
  /** Such as `B7`. */
  readonly name: string
  readonly title: string
  /** Its first number, such as 117. */
  readonly first: number
}

/** All of them. */
export const groups: ReadonlyArray<Group> = firsts.map(([first, title], i) => ({ name: `B${i + 1}`, title, first }))

/** The name of the group of a number such as `B129`. */
export const groupOf = (number: string): string =>
  groups.findLast(({ first }) => first <= Number(number.slice(1)))?.name ?? ""
