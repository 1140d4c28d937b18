import { describe, expect, it } from "@effect/vitest"
import * as ResponseHead from "@sluice/core/ResponseHead"
import { qualityValues } from "../src/internal/qualityValues.ts"
import { uuid7 } from "../src/internal/uuid7.ts"
import { addVary } from "../src/internal/vary.ts"

describe("qualityValues", () => {
  it.each([
    ["gzip, br;q=0.5, *;q=0", [["gzip", 1], ["br", 0.5], ["*", 0]]],
    ["br;q=0.1, GZIP;Q=0.9", [["gzip", 0.9], ["br", 0.1]]],
    ["text/html;level=1;q=0.4, text/*", [["text/*", 1], ["text/html;level=1", 0.4]]],
    ["a;q=2, b;q=0.1234, c;q=, d", [["d", 1]]],
    ["", []],
    [" , ,", []]
  ])("%s", (field, expected) => {
    expect(qualityValues(field).map(({ value, weight }) => [value, weight])).toEqual(expected)
  })
})

describe("C77: addVary", () => {
  it.each([
    [[], "Origin"],
    [["Vary", "Accept-Language"], "Accept-Language, Origin"],
    [["Vary", "Accept", "vary", "Accept-Language"], "Accept, Accept-Language, Origin"],
    [["Vary", "origin"], "origin"],
    [["Vary", "*"], "*"]
  ])("%j", (fields, expected) => {
    const head = ResponseHead.fromFields(200, [...fields])
    addVary(head, "Origin")
    expect(head.getAll("vary")).toEqual([expected])
  })
})

describe("uuid7", () => {
  it("has the time, the version and the variant, and is never the same", () => {
    const ids = Array.from({ length: 5000 }, (_, i) => uuid7(0x0192_3456_789a + Math.floor(i / 3)))
    expect(new Set(ids).size).toBe(ids.length)
    for (const id of ids) expect(id).toMatch(/^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/)
    expect(ids.map((id) => id.slice(0, 15)).slice(1, 5)).toEqual([
      "01923456-789a-7",
      "01923456-789a-7",
      "01923456-789b-7",
      "01923456-789b-7"
    ])
    // Every random bit is set in some and clear in others.
    const bits = ids.map((id) => BigInt(`0x${id.replaceAll("-", "").slice(13)}`) & ~(3n << 62n))
    const all = bits.reduce((a, b) => a | b)
    const none = bits.reduce((a, b) => a & b)
    expect(all.toString(2)).toBe(`${"1".repeat(12)}00${"1".repeat(62)}`)
    expect(none & ~(3n << 62n)).toBe(0n)
  })
})
