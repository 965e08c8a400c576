/** The last 20 orders and all that follow. The place is kept, so a reload misses nothing and shows nothing twice. */

import { Tailrace } from "../../clients/js/tailrace.js";
import { address, element, money, showFault, showState, time } from "../gateway.js";

const ROWS = 20;
const KEPT = "tailrace-example-orders";

const kept = JSON.parse(localStorage.getItem(KEPT) ?? "null") ?? { place: { last: ROWS }, rows: [], count: 0 };
const body = document.querySelector("#orders");

const client = new Tailrace(address, { onState: showState });
const subscription = client.subscribe("orders", {
  from: kept.place,
  onRecord: take,
  onState: (state) => (document.querySelector("#subscription").textContent = state),
  onError: showFault,
});

function take(record) {
  kept.count += 1;
  if (!record.tombstone) {
    kept.rows = [{ timestamp: record.timestamp, ...record.value }, ...kept.rows].slice(0, ROWS);
  }
  subscription.had(record);
  kept.place = subscription.place;
  localStorage.setItem(KEPT, JSON.stringify(kept)); // rows and place in one step: both or none
  show();
}

function show() {
  document.querySelector("#count").textContent = kept.count;
  body.replaceChildren(...kept.rows.map(row));
}

function row({ timestamp, order, status, customer, total }) {
  const made = element("tr");
  made.append(
    element("td", time(timestamp)),
    element("td", order),
    element("td", status),
    element("td", `${customer.name}, ${customer.city}`),
    element("td", money(total), "number"),
  );
  return made;
}

document.querySelector("#forget").addEventListener("click", () => {
  client.close();
  localStorage.removeItem(KEPT);
  location.reload();
});

show();
