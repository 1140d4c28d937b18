/** Where a message carries its exchange. A registered symbol, so that two copies of the package agree on it. */
export const exchangeKey: unique symbol = Symbol.for("@sluice/core/exchange") as never
