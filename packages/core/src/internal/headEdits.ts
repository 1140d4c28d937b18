import type { HeadEdit, ResponseHead } from "../ResponseHead.ts"

/** Responses travel from the inside out, so the edit that was registered last (by the innermost middleware) runs first. */
export const runEdits = (edits: ReadonlyArray<HeadEdit>, head: ResponseHead): void => {
  for (let i = edits.length - 1; i >= 0; i--) edits[i](head)
}
