import { describe, expect, it } from "@effect/vitest"
import * as ResponseHead from "@sluice/core/ResponseHead"
import { qualityValues } from "../src/internal/qualityValues.ts"
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
