/** Where an upgrade request keeps the bytes that its client sent along with the head. */
export const upgradeHeadKey: unique symbol = Symbol.for("@sluice/core/upgradeHead") as never
