/**
 * A program for tests: follows a topic from its beginning and prints `partition offset` for each record, until SIGTERM.
 * node follow.js URL TOPIC callback|loop; gaps, errors and the states of the connection go to stderr.
 */
import { WebSocket } from "ws";

import { Tailrace } from "../tailrace.js";

const [url, topic, manner] = process.argv.slice(2);
const tell = (...words) => console.error(...words.map((word) => (typeof word === "string" ? word : JSON.stringify(word))));
const print = ({ partition, offset }) => process.stdout.write(`${partition} ${offset}\n`);

const client = new Tailrace(url, { WebSocket, onState: (state, detail) => tell("connection", state, detail ?? "") });
process.on("SIGTERM", () => client.close());

const options = { from: "earliest", onGap: (gap) => tell("gap", gap), onError: (error) => tell("error", error.message) };
if (manner === "callback") {
  client.subscribe(topic, { ...options, onRecord: print });
} else {
  // So little that a burst pauses it, and it has to come back.
  for await (const record of client.subscribe(topic, { ...options, buffer: 20_000 })) print(record);
}
