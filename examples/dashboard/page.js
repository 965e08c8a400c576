/** Ten minutes of orders, counted in the page from Kafka's log and then live; and quotes that never lag behind. */

import { Tailrace } from "../../clients/js/tailrace.js";
import { address, element, money, showFault, showState } from "../gateway.js";

const WINDOW_MS = 10 * 60 * 1000;

const client = new Tailrace(address, { onState: showState });

// Orders: everything counts, so nothing may be missed. One subscription gives history and live in the right order.
let events = [];
client.subscribe("orders", {
  from: { timestamp: Date.now() - WINDOW_MS },
  onRecord: ({ timestamp, value, tombstone }) => {
    if (!tombstone) events.push({ timestamp, status: value.status, total: value.total, country: value.customer.country });
  },
  onError: showFault,
});

// Quotes: only the newest matters. `latest` leaves out what is outdated, however slow the page or the line.
const quotes = new Map();
let told = 0;
client.subscribe("prices", {
  slow: "latest",
  intervalMs: 500,
  onRecord: ({ key, value }) => {
    quotes.set(key, value);
    told += 1;
  },
  onError: showFault,
});

setInterval(show, 500);

function show() {
  const now = Date.now();
  events = events.filter(({ timestamp }) => timestamp > now - WINDOW_MS);
  const paid = events.filter(({ status }) => status === "paid");
  tell("#placed", events.filter(({ status }) => status === "placed").length);
  tell("#revenue", money(sum(paid)));
  tell("#rate", events.filter(({ timestamp }) => timestamp > now - 60_000).length);
  showCountries(Map.groupBy(paid, ({ country }) => country));
  tell("#quotes-count", told);
  document.querySelector("#quotes").replaceChildren(...[...quotes].sort().map(([ticker, { last }]) => cells(ticker, money(last))));
}

function showCountries(byCountry) {
  const sums = [...byCountry].map(([country, orders]) => [country, sum(orders)]).sort((a, b) => b[1] - a[1]);
  const rows = sums.map(([country, total]) => {
    const row = cells(country, money(total));
    const bar = element("div", "", "bar");
    bar.style.width = `${(100 * total) / sums[0][1]}%`;
    const cell = element("td");
    cell.style.width = "60%";
    cell.append(bar);
    row.append(cell);
    return row;
  });
  document.querySelector("#countries").replaceChildren(...rows);
}

function cells(name, number) {
  const row = element("tr");
  row.append(element("td", name), element("td", number, "number"));
  return row;
}

const sum = (orders) => orders.reduce((total, order) => total + order.total, 0);
const tell = (css, text) => (document.querySelector(css).textContent = text);
