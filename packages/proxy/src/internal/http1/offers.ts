/** Whether the protocol switched to is among those asked for; protocol names have no case (RFC 9110, 7.8). */
export const offers = (asked: string, got: string | undefined): boolean => {
  const wanted = got?.trim().toLowerCase()
  return wanted !== undefined && asked.split(",").some((protocol) => protocol.trim().toLowerCase() === wanted)
}
