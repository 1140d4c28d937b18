/**
 * Sends a request with a body: one in memory at once, one that flows through with backpressure, one that is expected when
 * the upstream asks for it.
 */
import * as Timer from "@sluice/core/Timer"
import type * as Clock from "effect/Clock"
import type * as Body from "../../Body.ts"
import type * as ProxyError from "../../ProxyError.ts"
import type * as Transport from "../../Transport.ts"
import { clockOf } from "../clocks.ts"
import type { Connection } from "./connection.ts"
import { type Listener, Upload } from "./upload.ts"
import type { Watch } from "./watch.ts"

/** The exchange whose request it is. */
export interface Sender {
  /** From here on it is the answer that the upstream is late with. */
  onAnswerDue(): void
  /** The upstream has stopped reading. */
  onSendTimeout(): void
  onUploadFailed(error: ProxyError.TransportError): void
}

export interface Settings {
  readonly body: Body.Replayable | Body.OneShot
  readonly connection: Connection
  readonly clock: Clock.Clock
  readonly clocks: Transport.Clocks
  readonly watch: Watch
  readonly sender: Sender
}

export class Sending implements Listener {
  /** `expected`: the body is held back until the upstream asks for it. `sent`: the system has all of it. */
  state: "expected" | "flowing" | "sent" = "flowing"

  private readonly settings: Settings
  private readonly upload: Upload | undefined
  private cancelContinue: Timer.Cancel | undefined

  constructor(settings: Settings) {
    const { body, connection, watch } = settings
    this.settings = settings
    this.upload = body._tag === "OneShot" ? new Upload(body, connection.socket, this, () => watch.now()) : undefined
  }

  /** Of the body, as far as they were taken from where they come from. */
  get bytes(): number {
    const { body } = this.settings
    return body._tag === "Replayable" ? body.bytes.length : this.upload?.bytes ?? 0
  }

  /** Whether the body can't be sent again. */
  get used(): boolean {
    return this.upload?.started === true
  }

  start(head: string, expectContinue: boolean): void {
    const { body, connection: { socket } } = this.settings
    socket.cork()
    socket.write(head, "latin1")
    if (body._tag === "Replayable") this.write(body.bytes)
    else if (expectContinue) this.expect()
    else {
      this.flow()
      // Not before the first chunk had its chance: it usually arrives in this turn and then shares a segment with the head.
      process.nextTick(() => socket.uncork())
      return
    }
    socket.uncork()
  }

  private write(bytes: Uint8Array): void {
    const { connection, sender, watch } = this.settings
    if (connection.socket.write(bytes)) this.onUploaded()
    else watch.start("send", () => sender.onSendTimeout())
  }

  private expect(): void {
    const { clock, clocks, sender } = this.settings
    this.state = "expected"
    this.cancelContinue = Timer.start(clock, clockOf(clocks, "continue"), this.onContinue)
    sender.onAnswerDue()
  }

  private flow(): void {
    this.state = "flowing"
    this.settings.watch.wind("send", this.onRing)
    this.upload?.start()
  }

  /** A client that is slow with its body does not count against the upstream. */
  private readonly onRing = (limit: number): number => {
    const upload = this.upload
    const left = upload?.blocked === true ? upload.progress + limit - this.settings.watch.now() : limit
    if (left <= 0) this.settings.sender.onSendTimeout()
    return left
  }

  /** The upstream wants the body, or has been silent for so long that it seems not to know the expectation. */
  readonly onContinue = (): void => {
    this.cancelContinue?.()
    if (this.state === "expected") this.flow()
  }

  onDrain(): void {
    if (this.upload !== undefined) this.upload.onDrain()
    else if (this.state === "flowing") this.onUploaded()
  }

  onUploaded(): void {
    this.state = "sent"
    this.settings.sender.onAnswerDue()
  }

  onUploadFailed(error: ProxyError.TransportError): void {
    this.settings.sender.onUploadFailed(error)
  }

  /** The final answer is there: what is still expected will not be sent. */
  onAnswer(): void {
    this.cancelContinue?.()
  }

  /** Takes nothing more of the body. */
  stop(): void {
    this.cancelContinue?.()
    this.upload?.stop()
  }
}
