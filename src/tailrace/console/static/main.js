/**
 * The console: one subscription at a time, of a topic or of some keys of it, and everything it brings on the page.
 *
 * The flow of a record: tailrace.js, in worker.js -> here (ring, meter, totals) -> records.js draws what is in sight,
 * ten times a second at most. Everything kept is bounded: ENTRIES and CHARACTERS of records, 90 s of figures, 40 journal lines.
 */
import { Absence } from "./absence.js";
import { DEFAULTS, fromFragment, fromInWords, keysText, onWire, toFragment } from "./asked.js";
import { counted, duration } from "./format.js";
import { Form } from "./form.js";
import { Inspector } from "./inspector.js";
import { busiestKeys, Meter, Ring } from "./metrics.js";
import { PublishLine } from "./publish.js";
import { RecordList } from "./records.js";
import { RemoteConnection } from "./remote.js";
import { gapInWords } from "./rows.js";
import { KEYS_SHOWN, lossInWords, View } from "./view.js";

const ENTRIES = 5_000;
const CHARACTERS = 16 * 1024 ** 2; // of JSON as received: a few large records must not cost more than many small ones

const REFUSALS = {
  unknown_topic: (topic) => `This gateway has no topic “${topic}”, or does not expose it.`,
  forbidden: (topic) => `Reading “${topic}” is not allowed here.`,
  unauthenticated: () => "This gateway wants credentials first.",
  too_many_subscriptions: () => "This connection has too many subscriptions.",
  topic_deleted: (topic) => `The topic “${topic}” was deleted.`,
  kafka_unavailable: () => "The gateway cannot reach Kafka.",
  snapshot_unavailable: (topic) => `There is no snapshot of “${topic}” to be had.`,
  bad_position: (topic) => `“${topic}” cannot be read from there.`,
};

const offer = JSON.parse(document.getElementById("tailrace-config").textContent);
const entries = { ring: new Ring(ENTRIES, CHARACTERS), total: 0 };
const meter = new Meter();
const received = new Map(); // partition -> records
let totals = none();
let subscription = null;
let chosen = null; // {topic, keys, from, slow}, see asked.js
let asked = null; // when it was last asked for, in ms, and how many records there were then: {at, records}
let absence = null; // while the connection is away, and until the subscription is live again
let stranded = null; // the place of a subscription that a close for good has ended, for when people connect again

let token = ""; // kept nowhere else: a page that is loaded again asks again

const form = new Form(offer.topics, { present, start, fault: (words) => view.fault(words) });
const view = new View({
  filter,
  stop,
  pause: () => setPaused(!list.paused),
  clear,
  follow: () => setPaused(false),
  connect,
  copyPosition,
});
const list = new RecordList(document.getElementById("records"), entries, {
  selected: (entry) => inspector.show(entry),
  held: (newer) => view.newer(newer),
});
const inspector = new Inspector(document.getElementById("inspector"), {
  closed: () => {
    list.select(null);
    document.getElementById("records").focus({ preventScroll: true });
  },
  filtered: filter,
});
const connection = new RemoteConnection(new URL("ws", location.href.replace(/^http/, "ws")), {
  changed: (state, detail) => {
    view.connection(state, detail);
    if (state === "waiting" || state === "closed") {
      view.note(lossInWords(detail), "bad");
    } else if (state === "open") {
      view.note("Connected.", "good");
    }
    showState();
  },
});

const publishing = new PublishLine(offer, (fields, answered) => connection.publish(fields, answered));

// What people ask for

/** Nothing is done when it is the token there is. */
function present(told) {
  if (told !== token) {
    leave();
    token = told;
    connection.present(token);
  }
}

/** Whatever ran before is left, and its records with it. */
function start(wanted) {
  leave();
  chosen = wanted;
  wipe();
  setPaused(false);
  form.show(chosen);
  view.subscription(chosen.topic, keysText(chosen.keys));
  publishing.show(chosen.topic);
  history.replaceState(null, "", `#${toFragment(chosen)}`);
  subscribe(onWire(chosen.from), false);
}

/** The same topic, one key of it or (null) all. */
function filter(key) {
  start({ ...chosen, keys: key === null ? null : [key] });
}

/** `from`: where to begin, on the wire; `resumed`: it is the place where another subscription ended. */
function subscribe(from, resumed) {
  const { topic, keys, slow } = chosen;
  view.fault(null);
  view.positions(new Map(), received, new Map());
  const options = {
    ...(from !== DEFAULTS.from && { from }),
    ...(keys !== null && { keys }),
    ...(slow !== DEFAULTS.slow && { slow }),
  };
  asked = { at: Date.now(), records: totals.records };
  subscription = connection.subscribe(topic, options, listenerFor(chosen, resumed), resumed);
  showState();
}

function leave() {
  subscription?.close();
  subscription = stranded = absence = null;
}

function connect() {
  connection.open();
  if (stranded !== null) {
    const { from } = stranded;
    stranded = null;
    subscribe(from, true);
  }
}

function stop() {
  leave();
  view.note(`Stopped ${chosen.topic}.`, "calm");
  showState();
}

function setPaused(paused) {
  if (paused !== list.paused) {
    view.paused(paused);
  }
  if (paused) {
    list.pause();
  } else {
    list.resume();
  }
  showState();
}

function clear() {
  entries.ring.clear();
  list.clear();
  showState();
}

function wipe() {
  clear();
  meter.clear();
  received.clear();
  totals = none();
  view.topicFacts("");
  showFigures();
}

async function copyPosition() {
  const offsets = [...(subscription?.offsets ?? [])].map(([partition, next]) => `${partition}=${next}`);
  await navigator.clipboard.writeText(`offsets:${offsets.join(",")}`);
  view.copied();
}

// What the gateway says

/** `replaced`: it continues what a close for good has ended. */
function listenerFor({ topic, keys, from }, replaced) {
  const name = keys === null ? topic : `${topic}, ${keys.length === 1 ? "key" : "keys"} ${keysText(keys)}`;
  return {
    record,
    gap: (gap) => {
      totals.gaps++;
      absence?.gap(gap);
      push({ kind: "gap", gap, at: Date.now(), characters: 0 });
      view.note(gapInWords(gap), "bad");
    },
    subscribed: ({ topic_id: topicId, compacted, positions }, resumed) => {
      view.note(resumed ? `Continued ${name}.` : `Subscribed to ${name}, ${fromInWords(from)}.`, "good");
      if (resumed) {
        mark("Connected again; it goes on where it left off.", "good");
      } else {
        view.began(positions);
      }
      view.topicFacts(factsOf(topicId, compacted));
      view.fault(null);
      replaced = false;
      showState();
    },
    live,
    interrupted: (offsets) => {
      mark("The connection was lost here.", "bad");
      absence ??= new Absence(Object.entries(offsets), Date.now());
    },
    waiting: (code) => view.fault(`${refusal(code, topic)} Asking again.`),
    ended: (code, message, resuming) => ended(code, message, resuming || replaced),
  };
}

/** It has caught up: with what came while it was away, or with what there was to begin with. */
function live() {
  if (absence !== null) {
    const words = absence.inWords(Date.now());
    mark(words, absence.whole ? "good" : "bad");
    view.note(words, absence.whole ? "good" : "bad");
    absence = null;
  } else if (totals.records > asked.records) {
    const took = duration(Math.max(1, Date.now() - asked.at));
    view.note(`Live: caught up with ${counted(totals.records - asked.records, "record")} in ${took}.`, "good");
  }
  showState();
}

function record(message, characters, late) {
  const partition = String(message.partition);
  absence?.record(message);
  meter.record(performance.now(), characters, late);
  received.set(partition, (received.get(partition) ?? 0) + 1);
  totals.records++;
  totals.characters += characters;
  totals.tombstones += message.tombstone ? 1 : 0;
  push({ kind: "record", record: message, latency: late, characters });
}

/** The gateway may not have the kept place any more, or not offer to go back at all: say so, and go on from now. */
function ended(code, message, resuming) {
  if (code === "disconnected") {
    stranded = { from: subscription.place };
    subscription = null;
    showState();
    return;
  }
  if (resuming) {
    mark(`It could not go on where it left off (${message}). From here on: the newest records.`, "bad");
    view.note(`Could not resume ${chosen.topic}: ${message}`, "bad");
    absence = null;
    subscribe(DEFAULTS.from, false);
    return;
  }
  subscription = null;
  const words = refusal(code, chosen.topic);
  view.fault(message ? `${words} The gateway says: ${message}` : words);
  view.note(words, "bad");
  showState();
}

function refusal(code, topic) {
  return REFUSALS[code]?.(topic) ?? `The subscription ended (${code}).`;
}

function factsOf(topicId, compacted) {
  const kind = { true: "compacted", false: "not compacted" }[compacted];
  return [kind, topicId === null ? null : `id ${topicId}`].filter(Boolean).join(" · ");
}

function mark(text, tone) {
  push({ kind: "note", text, tone, at: Date.now(), characters: 0 });
}

function push(entry) {
  entry.seq = ++entries.total;
  entries.ring.push(entry);
  list.touch();
}

// What is shown

function none() {
  return { records: 0, characters: 0, tombstones: 0, gaps: 0 };
}

function showState() {
  const [state, words] = stateInWords();
  view.state(state, words);
  form.showStart();
  const waiting = subscription === null ? "Nothing is running. Choose a topic, or start again." : "Waiting for the next record.";
  view.empty(entries.ring.length > 0 ? null : waiting);
}

function stateInWords() {
  if (subscription === null) {
    return ["idle", "stopped"];
  }
  if (list.paused) {
    return ["paused", "paused"];
  }
  const words = { waiting: "waiting", pending: "starting", "catching-up": "catching up", live: "live" };
  return [subscription.state, words[subscription.state]];
}

function showFigures() {
  view.totals(totals);
  view.positions(subscription?.offsets ?? new Map(), received);
  view.empty(entries.ring.length > 0 ? null : document.getElementById("empty").textContent);
}

setInterval(showFigures, 250);
setInterval(() => {
  meter.advance(performance.now());
  view.meter(meter);
  view.keys(busiestKeys(entries.ring, KEYS_SHOWN));
}, 1000);

document.getElementById("records").addEventListener("keydown", (event) => {
  if (event.key === " ") {
    event.preventDefault();
    setPaused(!list.paused);
  }
});
addEventListener("online", connect);

const first = fromFragment(location.hash.slice(1)) ?? (offer.topics.length > 0 ? { ...DEFAULTS, topic: offer.topics[0] } : null);
if (first === null) {
  form.show({ ...DEFAULTS, topic: "" });
  showState();
} else {
  start(first);
}
