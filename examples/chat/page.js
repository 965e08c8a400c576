/** Rooms of one topic: the key is the room, so that a room's messages are in order and a page asks for its room only. */

import { Tailrace } from "../../clients/js/tailrace.js";
import { address, element, showFault, showState, time } from "../gateway.js";
import { Publisher } from "./publisher.js";

const HISTORY = 200; // of the topic, of which the room's are shown

const client = new Tailrace(address, { onState: showState });
const publisher = new Publisher(address);
const messages = document.querySelector("#messages");
let subscription = null;
let name, room;

document.querySelector("#enter").addEventListener("submit", (event) => {
  event.preventDefault();
  name = document.querySelector("#name").value;
  room = document.querySelector("#room").value;
  messages.replaceChildren();
  subscription?.close();
  subscription = client.subscribe("chat", { from: { last: HISTORY }, keys: [room], onRecord: show, onError: showFault });
  document.querySelector("#say").hidden = false;
  document.querySelector("#text").focus();
});

document.querySelector("#say").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = document.querySelector("#text");
  const text = field.value;
  field.value = "";
  try {
    // It is shown when it comes back, at its place among the others: what this page shows is what stands in the log.
    await publisher.publish({ topic: "chat", key: room, value: { name, text } });
    document.querySelector("#fault").textContent = "";
  } catch (error) {
    field.value = text;
    document.querySelector("#fault").textContent = `Perhaps not sent: ${error.message}`;
  }
});

function show({ timestamp, value }) {
  const line = element("li");
  line.append(element("b", value.name), ` ${value.text} `, element("span", time(timestamp), "soft"));
  messages.append(line);
  line.scrollIntoView({ block: "nearest" });
}
