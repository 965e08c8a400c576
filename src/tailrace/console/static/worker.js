/**
 * The connection, off the page's own thread: at ten thousand messages a second a browser spends most of a core on
 * taking them in (77 us each, of which this code is 15), and the page must answer to its reader meanwhile.
 *
 * In: ["connect", url], ["open"], ["subscribe", number, request], ["unsubscribe", number].
 * Out, at most every BATCH_MS: {events: [[number or null, what, ...details], ...], places: {number: {...}}}; `what` and
 * the details are connection.js's, a record's with its latency behind; number null is the connection itself.
 */
import { Connection } from "./connection.js";

const BATCH_MS = 50;
const HEARD = ["subscribed", "gap", "live", "moved", "interrupted", "waiting", "ended"];

const subscriptions = new Map(); // the page's number -> Subscription
let connection = null;
let events = [];
let timer = null;

const commands = {
  connect(url) {
    connection = new Connection(url, { changed: (state, detail) => tell(null, "changed", state, detail) });
    connection.open();
  },
  open() {
    connection.open();
  },
  subscribe(number, request) {
    subscriptions.set(number, connection.subscribe(request, listenerFor(number)));
  },
  unsubscribe(number) {
    subscriptions.get(number)?.close();
    subscriptions.delete(number);
  },
};

onmessage = ({ data: [command, ...details] }) => commands[command](...details);

function listenerFor(number) {
  const listener = Object.fromEntries(HEARD.map((what) => [what, (...details) => tell(number, what, ...details)]));
  listener.record = (message, characters) => tell(number, "record", message, characters, latency(number, message));
  return listener;
}

/** In ms; null where it says nothing: no timestamp, or a record from before. */
function latency(number, { timestamp }) {
  return timestamp !== null && subscriptions.get(number)?.state === "live" ? Date.now() - timestamp : null;
}

function tell(...event) {
  events.push(event);
  timer ??= setTimeout(flush, BATCH_MS);
}

function flush() {
  timer = null;
  const places = {};
  for (const [number, { state, resuming, position }] of subscriptions) {
    places[number] = { state, resuming, offsets: position.offsets };
  }
  postMessage({ events, places });
  events = [];
}
