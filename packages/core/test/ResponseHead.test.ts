import { assert, describe, it } from "@effect/vitest"
import { IncomingMessage, ServerResponse } from "node:http"
import { Socket } from "node:net"
import * as ResponseHead from "../src/ResponseHead.ts"

const nodeResponse = () => {
  const response = new ServerResponse(new IncomingMessage(new Socket()))
  response.setHeader("Server", "node")
  response.setHeader("Set-Cookie", ["a=1", "b=2"])
  return { head: ResponseHead.fromNodeResponse(200, response), read: (name: string) => response.getHeader(name) }
}

const rawFields = () => {
  const fields = ["Server", "node", "Set-Cookie", "a=1", "set-cookie", "b=2"]
  const read = (name: string) => {
    const values = fields.filter((_, i) => i % 2 === 1 && fields[i - 1]?.toLowerCase() === name.toLowerCase())
    return values.length > 1 ? values : values[0]
  }
  return { head: ResponseHead.fromFields(200, fields), read }
}

describe("ResponseHead", () => {
  for (const [kind, make] of [["fields", rawFields], ["a Node response", nodeResponse]] as const) {
    it(`reads and edits ${kind} without regard to case`, () => {
      const { head, read } = make()
      assert.strictEqual(head.status, 200)
      assert.strictEqual(head.get("SERVER"), "node")
      assert.strictEqual(head.get("set-cookie"), "a=1")
      assert.isUndefined(head.get("x"))
      head.set("server", "sluice")
      assert.strictEqual(read("Server"), "sluice")
      head.append("Set-Cookie", "c=3")
      assert.deepStrictEqual(read("set-cookie"), ["a=1", "b=2", "c=3"])
      head.set("SET-COOKIE", "d=4")
      assert.deepStrictEqual(read("set-cookie"), "d=4")
      head.set("X-New", "1")
      assert.strictEqual(read("x-new"), "1")
      head.remove("x-NEW")
      head.remove("x-none")
      assert.isUndefined(read("x-new"))
    })
  }

  it("removing keeps the other fields in their order", () => {
    const fields = ["A", "1", "B", "2", "a", "3", "C", "4", "A", "5"]
    ResponseHead.fromFields(200, fields).remove("a")
    assert.deepStrictEqual(fields, ["B", "2", "C", "4"])
  })

  it("setting a repeated field leaves one line in the first one's place", () => {
    const fields = ["A", "1", "B", "2", "a", "3", "a", "4"]
    ResponseHead.fromFields(200, fields).set("a", "x")
    assert.deepStrictEqual(fields, ["A", "x", "B", "2"])
  })
})
