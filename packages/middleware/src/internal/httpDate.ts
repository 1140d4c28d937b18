const imfFixdate = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/
const rfc850 = /^(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d GMT$/
const asctime = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}$/

/**
 * A date of a header field in milliseconds since 1970, in any of the three forms that must be understood; `undefined` for
 * anything else, which conditions ignore.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7
 */
export const httpDate = (text: string): number | undefined => {
  const millis = imfFixdate.test(text) || rfc850.test(text)
    ? Date.parse(text)
    : asctime.test(text)
    ? Date.parse(`${text} GMT`)
    : Number.NaN
  return Number.isNaN(millis) ? undefined : millis
}
