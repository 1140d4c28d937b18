/** What makes the schema, in order. One that has been released is never edited: the next one changes what it did. */
export const migrations: ReadonlyArray<string> = [
  `create table orders (
     id integer primary key autoincrement,
     sku text not null,
     quantity integer not null check (quantity > 0),
     status text not null default 'placed',
     version integer not null default 1,
     placed_by text not null
   ) strict`,
  `create table order_events (
     id integer primary key autoincrement,
     order_id integer not null references orders (id),
     status text not null
   ) strict`
]
