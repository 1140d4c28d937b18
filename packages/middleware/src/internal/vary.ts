import type { ResponseHead } from "@sluice/core/ResponseHead"

/**
 * Adds names to `Vary`. What is there stays as it is, no name comes twice, and `*` says it all.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-12.5.5
 */
export const addVary = (head: ResponseHead, ...names: ReadonlyArray<string>): void => {
  const lines = head.getAll("vary")
  const there = new Set(lines.join(",").split(",").map((name) => name.trim().toLowerCase()))
  if (there.has("*")) return
  const missing = names.filter((name) => !there.has(name.toLowerCase()))
  if (missing.length > 0) head.set("vary", [...lines.filter((line) => line.trim() !== ""), ...missing].join(", "))
}
