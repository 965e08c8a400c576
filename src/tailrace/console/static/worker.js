/**
 * The client (tailrace.js), off the page's own thread: at ten thousand messages a second a browser spends most of a core
 * on taking them in (77 us each, of which this code is 15), and the page must answer to its reader meanwhile.
 *
 * In: ["connect", url, token or ""] (also anew: what ran before is gone), ["open"], ["subscribe", number, topic, options], ["unsubscribe", number].
 * Out, at most every BATCH_MS: {events: [[number or null, what, ...details], ...], places: {number: {...}}}; `what` and
 * the details are the listener's of remote.js; number null is the connection itself.
 */
import { Tailrace } from "./tailrace.js";

const BATCH_MS = 50;

const subscriptions = new Map(); // the page's number -> Subscription
let client = null;
let turns = 0; // how often it connected anew
let events = [];
let timer = null;

const commands = {
  connect(url, token) {
    const turn = ++turns;
    client?.close(); // what becomes of it is nobody's
    subscriptions.clear();
    const changed = (...change) => turn === turns && tell(null, "changed", ...change);
    client = new Tailrace(url, { token, onState: changed });
  },
  open() {
    client.open();
  },
  subscribe(number, topic, options) {
    subscriptions.set(number, client.subscribe(topic, { ...options, ...callbacksFor(number, options.from) }));
  },
  unsubscribe(number) {
    subscriptions.get(number)?.close();
    subscriptions.delete(number);
  },
};

onmessage = ({ data: [command, ...details] }) => commands[command](...details);

function callbacksFor(number, from) {
  let resumed = from !== undefined;
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
        tell(number, "interrupted");
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
