/** The text of a time in milliseconds, made once a second: many lines of a log are of the same one. */
export const perSecond = (text: (time: number) => string): (time: number) => string => {
  let made = ""
  let second = Number.NaN
  return (time) => {
    const now = Math.floor(time / 1000)
    if (now !== second) {
      made = text(time)
      second = now
    }
    return made
  }
}
