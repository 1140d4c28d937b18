import { assert, describe, it } from "@effect/vitest"
import * as Via from "../src/Via.ts"

describe("Via", () => {
  it("B39 appends one member and leaves the lines before it", () => {
    assert.deepStrictEqual(Via.append(["Via", "1.0 fred (x, y)", "A", "1"], "sluice"), [
      "Via",
      "1.0 fred (x, y)",
      "A",
      "1",
      "Via",
      "1.1 sluice"
    ])
    assert.deepStrictEqual(Via.append([], "sluice", "2"), ["Via", "2 sluice"])
  })

  for (
    const [value, expected] of [
      ["1.1 sluice", true],
      ["1.0 fred, 1.1 SLUICE", true],
      ["HTTP/1.1\tsluice (comment)", true],
      ["1.1 fred (a \\) b, 1.1 sluice)", false],
      ["1.1 fred (a (b) , 1.1 sluice)", false],
      ["1.1 fred (x), 1.1 sluice", true],
      ["1.1 sluice2, 1.1 my-sluice", false],
      ["sluice", false],
      ["1.1 fred (unclosed, 1.1 sluice", false],
      [",, ,", false]
    ] as const
  ) {
    it(`B40 ${value} ${expected ? "is" : "is not"} a loop`, () => {
      assert.strictEqual(Via.includes(["X", "1", "via", value], "Sluice"), expected)
      assert.strictEqual(
        Via.check(["Via", "1.0 a", "VIA", value], "sluice")?._tag,
        expected ? "LoopDetected" : undefined
      )
    })
  }

  for (
    const [method, value, expected] of [
      ["OPTIONS", "0", undefined],
      ["TRACE", "00", undefined],
      ["TRACE", "1", "0"],
      ["OPTIONS", "10", "9"],
      ["OPTIONS", "99999999999999999999", "9007199254740990"],
      ["OPTIONS", "-1", "-1"],
      ["OPTIONS", "x", "x"],
      ["GET", "0", "0"]
    ] as const
  ) {
    it(`B41 ${method} with Max-Forwards: ${value}`, () => {
      const outcome = Via.maxForwards(method, ["A", "1", "max-forwards", value])
      if (outcome._tag === "Answer") assert.strictEqual(expected, undefined)
      else assert.deepStrictEqual(outcome.fields, ["A", "1", "max-forwards", `${expected}`])
    })
  }

  it("B41 no Max-Forwards", () => {
    assert.strictEqual(Via.maxForwards("TRACE", [])._tag, "Forward")
  })
})
