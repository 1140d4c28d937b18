/**
 * Chunk extensions (RFC 9112, 7.1.1), byte by byte: nobody needs them, but what is read in two ways can hide a chunk. The
 * white space that senders must not write is refused with the rest.
 */

/** Between the semicolon and the end of the line. */
export const states = { start: 0, name: 1, valueStart: 2, value: 3, quoted: 4, escaped: 5, afterQuoted: 6 } as const

export type State = (typeof states)[keyof typeof states]

const isToken = (byte: number): boolean => byte < 0x80 && tokens[byte]

const tokens: ReadonlyArray<boolean> = Array.from(
  { length: 0x80 },
  (_, byte) => /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(String.fromCharCode(byte))
)

const isText = (byte: number): boolean => byte === 0x09 || (byte >= 0x20 && byte !== 0x7f)

/** Whether the line may end here. */
export const mayEnd = (state: State): boolean =>
  state === states.name || state === states.value || state === states.afterQuoted

/** The state after a byte that does not end the line; `undefined` when the byte may not be there. */
export const next = (state: State, byte: number): State | undefined => {
  switch (state) {
    case states.start:
    case states.name:
      if (isToken(byte)) return states.name
      return state === states.start ? undefined : byte === 0x3d ? states.valueStart : another(byte)
    case states.valueStart:
      return byte === 0x22 ? states.quoted : isToken(byte) ? states.value : undefined
    case states.value:
      return isToken(byte) ? states.value : another(byte)
    case states.quoted:
      if (byte === 0x22) return states.afterQuoted
      return byte === 0x5c ? states.escaped : isText(byte) ? states.quoted : undefined
    case states.escaped:
      return isText(byte) ? states.quoted : undefined
    case states.afterQuoted:
      return another(byte)
  }
}

const another = (byte: number): State | undefined => byte === 0x3b ? states.start : undefined
