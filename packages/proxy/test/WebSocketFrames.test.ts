import { assert, describe, it } from "@effect/vitest"
import { WebSocketFrames } from "../src/internal/webSocketFrames.ts"

const frame = (opcode: number, length: number, masked: boolean): Buffer => {
  const head = length < 126 ? [length] : length < 65_536 ? [126, length >> 8, length & 0xff] : [127]
  const long = Buffer.alloc(head[0] === 127 ? 8 : 0)
  if (head[0] === 127) long.writeBigUInt64BE(BigInt(length))
  if (masked) head[0] |= 0x80
  // A payload of Close frames: taken for frames, it would be seen.
  return Buffer.concat([
    Buffer.from([0x80 | opcode, ...head]),
    long,
    Buffer.alloc(masked ? 4 : 0),
    Buffer.alloc(length, 0x88)
  ])
}

describe("WebSocketFrames", () => {
  for (const masked of [false, true]) {
    for (const length of [0, 1, 125, 126, 65_535, 65_536, 70_000]) {
      it(`is open between frames of ${length} bytes only (${masked ? "masked" : "unmasked"})`, () => {
        const one = frame(2, length, masked)
        for (const size of [1, 2, 3, 7, one.length - 1, one.length, one.length + 3]) {
          const frames = new WebSocketFrames()
          const bytes = Buffer.concat([one, one, one])
          assert.isTrue(frames.open)
          for (let at = 0; at < bytes.length; at += size) {
            frames.push(bytes.subarray(at, at + size))
            const sent = Math.min(at + size, bytes.length)
            // There are hundreds of thousands of them, too many for an assertion each.
            if (frames.open !== (sent % one.length === 0)) assert.fail(`${sent} bytes, ${size} at once`)
          }
        }
      })
    }
  }

  it("is not open behind a Close frame", () => {
    const frames = new WebSocketFrames()
    frames.push(frame(8, 2, true))
    assert.isFalse(frames.open)
    frames.push(frame(1, 2, true))
    assert.isFalse(frames.open)
  })
})
