/** Node's own parser of responses (llhttp, compiled to machine code), driven as `node:http` drives it. */
import { createRequire } from "node:module"

interface Parser {
  [callback: number]: (...args: ReadonlyArray<unknown>) => unknown
  initialize(type: number, resource: object): void
  execute(bytes: Buffer): number | Error
}

interface ParserClass {
  new(): Parser
  readonly RESPONSE: number
  readonly kOnHeaders: number
  readonly kOnHeadersComplete: number
  readonly kOnBody: number
  readonly kOnMessageComplete: number
}

// Sound: deprecated for programs, but it is there in every Node that we support, with these members.
const { HTTPParser } = createRequire(import.meta.url)("_http_common") as { readonly HTTPParser: ParserClass }

export interface NodeParser {
  /** Parses one whole response, which is in these pieces, and returns the bytes of its body. */
  readonly parse: (pieces: ReadonlyArray<Buffer>) => number
}

export const make = (): NodeParser => {
  const parser = new HTTPParser()
  let bytes = 0
  let complete = false
  const fields: Array<unknown> = []
  parser[HTTPParser.kOnHeaders] = (some) => void fields.push(some)
  parser[HTTPParser.kOnHeadersComplete] = (_major, _minor, all) => {
    fields.push(all)
    return 0
  }
  parser[HTTPParser.kOnBody] = (chunk) => {
    // Sound: a body is told in buffers.
    bytes += (chunk as Buffer).length
  }
  parser[HTTPParser.kOnMessageComplete] = () => {
    complete = true
  }
  return {
    parse: (pieces) => {
      bytes = 0
      complete = false
      fields.length = 0
      parser.initialize(HTTPParser.RESPONSE, {})
      for (const piece of pieces) {
        const taken = parser.execute(piece)
        if (typeof taken !== "number") throw taken
      }
      if (!complete) throw new Error("the response was not complete")
      return bytes
    }
  }
}
