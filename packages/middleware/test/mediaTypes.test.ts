import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { matches, parseAccept, parseMediaType, weightOf } from "../src/internal/mediaTypes.ts"

const token = fc.string({ unit: fc.constantFrom("a", "b", "-", "+", ".", "1"), minLength: 1, maxLength: 4 })
const parameter = fc.tuple(token.filter((name) => name !== "q"), token).map(([name, value]) => `${name}=${value}`)
const mediaType = fc.tuple(token, token, fc.array(parameter, { maxLength: 2 })).map(([type, subtype, parameters]) =>
  [`${type}/${subtype}`, ...parameters].join(";")
)
const parsed = (text: string) => parseMediaType(text)!

describe("media types", () => {
  it("any text is read or refused, and an Accept of it weighs from 0 to 1", () => {
    fc.assert(fc.property(fc.string(), mediaType, (text, type) => {
      parseMediaType(text)
      const weight = weightOf(parseAccept(text), parsed(type))
      assert.isTrue(weight >= 0 && weight <= 1)
    }))
  })

  it("a type is in its own range, in that without its parameters, and in the wider ones", () => {
    fc.assert(fc.property(mediaType, (text) => {
      const type = parsed(text)
      for (const range of [text, `${type.type}/${type.subtype}`, `${type.type}/*`, "*/*", text.toUpperCase()]) {
        assert.isTrue(matches(parsed(range), type), range)
      }
      assert.isFalse(matches(parsed(`${type.type}x/*`), type))
    }))
  })

  it("the most specific range decides, in whatever order they come", () => {
    const ranges = ["*/*;q=0.1", "text/*;q=0.2", "text/html;q=0.3", "text/html;level=1;q=0.4"]
    fc.assert(fc.property(fc.shuffledSubarray(ranges, { minLength: 4 }), (ranges) => {
      const accepted = parseAccept(ranges.join(","))
      const weights = ["a/b", "text/plain", "text/html", "text/html;level=1"].map((type) =>
        weightOf(accepted, parsed(type))
      )
      assert.deepStrictEqual(weights, [0.1, 0.2, 0.3, 0.4])
    }))
  })
})
