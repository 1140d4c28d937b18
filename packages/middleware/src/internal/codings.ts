import type { Duplex } from "node:stream"
import * as Zlib from "node:zlib"
import { requireOneOf } from "./options.ts"

/**
 * The content codings that Node knows. `deflate` is the zlib format, as it has to be (RFC 9110, 8.4.1.2).
 *
 * @see https://www.iana.org/assignments/http-parameters/http-parameters.xhtml#content-coding
 */
export const codings = ["zstd", "br", "gzip", "deflate"] as const

export type Coding = (typeof codings)[number]

/** The name of a coding in a field; `x-gzip` is `gzip` (RFC 9110, 8.4.1.3). */
export const codingName = (name: string): string => name === "x-gzip" ? "gzip" : name

/**
 * Those that can be undone. Before version 26 Node's zstd takes the first of several frames for all of them, and before 24 a
 * part of one for a whole, without an error.
 */
export const decodable: ReadonlyArray<Coding> = Number(process.versions.node.split(".", 1)[0]) >= 26
  ? codings
  : codings.filter((coding) => coding !== "zstd")

/** A list of codings out of the options, or a `RangeError` that names it. */
export const requireCodings = (
  list: ReadonlyArray<Coding>,
  allowed: ReadonlyArray<Coding> = codings
): ReadonlyArray<Coding> => {
  if (list.length === 0) throw new RangeError("codings must not be empty")
  return list.map((coding) => requireOneOf("codings", coding, allowed))
}

/** Those at which the time that it takes and what it saves are in balance while somebody waits. */
const level = {
  zstd: { params: { [Zlib.constants.ZSTD_c_compressionLevel]: 3 } },
  br: { params: { [Zlib.constants.BROTLI_PARAM_QUALITY]: 4 } },
  gzip: { level: 6 },
  deflate: { level: 6 }
} as const

export const compress = (
  bytes: Uint8Array,
  coding: Coding,
  done: (error: Error | null, bytes: Buffer) => void
): void => {
  switch (coding) {
    case "zstd":
      return Zlib.zstdCompress(bytes, level.zstd, done)
    case "br":
      return Zlib.brotliCompress(bytes, level.br, done)
    case "gzip":
      return Zlib.gzip(bytes, level.gzip, done)
    case "deflate":
      return Zlib.deflate(bytes, level.deflate, done)
  }
}

interface Flushable extends Duplex {
  flush(kind: number): void
}

const makeCompressor = (coding: Coding): readonly [compressor: Flushable, flush: number] => {
  switch (coding) {
    case "zstd":
      return [Zlib.createZstdCompress(level.zstd), Zlib.constants.ZSTD_e_flush]
    case "br":
      return [Zlib.createBrotliCompress(level.br), Zlib.constants.BROTLI_OPERATION_FLUSH]
    case "gzip":
      return [Zlib.createGzip(level.gzip), Zlib.constants.Z_SYNC_FLUSH]
    case "deflate":
      return [Zlib.createDeflate(level.deflate), Zlib.constants.Z_SYNC_FLUSH]
  }
}

/** A compressor that holds nothing back when what it is fed pauses, but not for each of the chunks that come in a row. */
export const compressor = (coding: Coding): Duplex => {
  const [duplex, kind] = makeCompressor(coding)
  const { write } = duplex
  let due = false
  const flush = () => {
    // Flushing is a write of its own, after which there is nothing to flush: it is not due until that is done.
    if (!duplex.writableEnded && !duplex.destroyed) duplex.flush(kind)
    due = false
  }
  duplex.write = ((...args: Parameters<Duplex["write"]>) => {
    if (!due) {
      due = true
      setImmediate(flush)
    }
    return write.apply(duplex, args)
  }) as Duplex["write"]
  return duplex
}

export const decompressor = (coding: Coding): Duplex => {
  switch (coding) {
    case "zstd":
      return Zlib.createZstdDecompress()
    case "br":
      return Zlib.createBrotliDecompress()
    case "gzip":
      return Zlib.createGunzip()
    case "deflate":
      return Zlib.createInflate()
  }
}
