/** Requests that are sent one after another over kept connections. */
export interface Requests {
  readonly connections: number
  readonly path: string
  /** The body of a POST. */
  readonly body?: string
  readonly fields?: Readonly<Record<string, string>>
  /** Whether the client speaks TLS. It trusts any certificate. */
  readonly tls?: boolean
}

/** The address that the requests go to. */
export const urlOf = ({ path, tls = false }: Requests, port: number): string =>
  `${tls ? "https" : "http"}://127.0.0.1:${port}${path}`
