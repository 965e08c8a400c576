/**
 * The client (tailrace.js), off the page's own thread: at ten thousand messages a second a browser spends most of a core
 * on taking them in (77 us each, of which this code is 15), and the page must answer to its reader meanwhile.
 *
 * In: ["connect", url, token or ""] (also anew: what ran before is gone), ["open"], ["unsubscribe", number],
 * ["subscribe", number, topic, options, whether it continues another], ["publish", number, fields].
 * Out, at most every BATCH_MS: {events: [[number or null, what, ...details], ...], places: {number: {...}}}; `what` and
 * the details are the listener's of remote.js; number null is the connection itself.
 */
import { Tailrace } from "./tailrace.js";

const BATCH_MS = 50;

const subscriptions = new Map(); // the page's number -> Subscription
const publishing = new Set(); // numbers of what waits for its answer
let client = null;
let turns = 0; // how often it connected anew
let events = [];
let timer = null;

const commands = {
  connect(url, token) {
    const turn = ++turns;
    client?.close(); // what becomes of it is nobody's
    lose();
    subscriptions.clear();
    const changed = (...change) => turn === turns && connectionChanged(...change);
    client = new Tailrace(url, { token, onState: changed });
  },
  open() {
    client.open();
  },
  subscribe(number, topic, options, resumed) {
    subscriptions.set(number, client.subscribe(topic, { ...options, ...callbacksFor(number, resumed) }));
  },
  unsubscribe(number) {
    subscriptions.get(number)?.close();
    subscriptions.delete(number);
  },
  publish(number, fields) {
    if (client.state !== "open") {
      tell(null, "answered", number, { type: "error", code: "disconnected" });
      return;
    }
    publishing.add(number);
    client._command("publish", { _receive: (answer) => answered(number, answer) }, fields);
  },
};

onmessage = ({ data: [command, ...details] }) => commands[command](...details);

function answered(number, answer) {
  if (publishing.delete(number)) {
    tell(null, "answered", number, answer);
  }
}

/** The connection has ended: what was on its way may be in the log or not. */
function lose() {
  [...publishing].forEach((number) => answered(number, { type: "error", code: "lost" }));
}

function connectionChanged(state, detail) {
  if (state !== "open") {
    lose();
  }
  tell(null, "changed", state, detail);
}

function callbacksFor(number, resumed) {
  let up = false;
  return {
    onRecord: (record, characters) => tell(number, "record", record, characters, latency(number, record)),
    onSubscribed: (message) => {
      tell(number, "subscribed", message, resumed);
      resumed = true;
    },
    onGap: (gap) => tell(number, "gap", gap),
    onLive: () => tell(number, "live"),
    onPosition: () => tell(number, "moved"),
    onError: ({ code, message, retryMs, resuming }) =>
      retryMs === null ? tell(number, "ended", code, message, resuming) : tell(number, "waiting", code, message),
    onState: (state) => {
      if (up && state === "waiting" && client.state !== "open") {
        tell(number, "interrupted", subscriptions.get(number)?.place?.offsets ?? {}); // as of now, not of the flush
      }
      up = state === "live" || state === "catching-up";
    },
  };
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
  for (const [number, { state, place }] of subscriptions) {
    places[number] = { state, place };
  }
  postMessage({ events, places });
  events = [];
}
