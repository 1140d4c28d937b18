const close = 8

/**
 * Follows the frames of one direction of a WebSocket (RFC 6455, 5.2) without looking into them, to know where a frame of
 * one's own may stand.
 */
export class WebSocketFrames {
  /** Bytes of the frame's header that have come; 0 between two frames, and within a payload. */
  private header = 0
  private headerLength = 2
  private lengthEnd = 2
  private length = 0
  /** Bytes of the frame's payload that are still to come. */
  private payload = 0
  private closed = false

  /** Whether a control frame may come next: no frame is under way, and none has said that there are no more. */
  get open(): boolean {
    return this.header === 0 && this.payload === 0 && !this.closed
  }

  push(chunk: Uint8Array): void {
    let at = 0
    while (at < chunk.length) {
      if (this.payload === 0) this.onHeader(chunk[at++])
      else {
        const taken = Math.min(this.payload, chunk.length - at)
        this.payload -= taken
        at += taken
      }
    }
  }

  private onHeader(byte: number): void {
    const at = this.header++
    if (at === 0) this.closed ||= (byte & 0x0f) === close
    else if (at === 1) this.onLength(byte & 0x7f, (byte & 0x80) !== 0)
    else if (at < this.lengthEnd) this.length = this.length * 256 + byte
    if (this.header < this.headerLength) return
    this.payload = this.length
    this.header = 0
    this.headerLength = 2
  }

  /** The length itself, or how many bytes of it follow. */
  private onLength(length: number, masked: boolean): void {
    this.lengthEnd = 2 + (length === 127 ? 8 : length === 126 ? 2 : 0)
    this.headerLength = this.lengthEnd + (masked ? 4 : 0)
    this.length = length < 126 ? length : 0
  }
}
