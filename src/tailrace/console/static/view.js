/**
 * All of the page but its forms, the table and the record beside it: the connection's state, the tiles and their charts,
 * the position, the journal. It shows what it is told and says what was pressed; it decides nothing.
 */
import { Chart } from "./chart.js";
import { inWords } from "./disconnect.js";
import { element, setText } from "./element.js";
import { clock, duration, rate, short, size, whole } from "./format.js";
import { WINDOW_SECONDS } from "./metrics.js";

const JOURNAL_LINES = 40;
export const KEYS_SHOWN = 8;
const byId = (id) => document.getElementById(id);

const CONNECTION_WORDS = {
  connecting: "Connecting",
  open: "Connected",
  waiting: "Reconnecting",
  closed: "Disconnected",
};

export class View {
  #countdown = null;
  #listener;
  #began = {}; // partition -> the offset where the subscription began
  #rateChart = new Chart(byId("rate-chart"), { slots: WINDOW_SECONDS, format: short, floor: 10 });
  #latencyChart = new Chart(byId("latency-chart"), { slots: WINDOW_SECONDS, format: duration, floor: 10 });

  /** `listener`: filter(key or null), stop(), pause(), clear(), follow(), connect(), copyPosition(). */
  constructor(listener) {
    this.#listener = listener;
    byId("drop-key").addEventListener("click", () => listener.filter(null));
    const actions = { stop: "stop", pause: "pause", clear: "clear", newer: "follow", "copy-position": "copyPosition" };
    for (const [id, action] of Object.entries(actions)) {
      byId(id).addEventListener("click", () => listener[action]());
    }
    byId("banner").querySelector("button").addEventListener("click", () => listener.connect());
    byId("copy-position").hidden = navigator.clipboard === undefined;
  }

  // The connection

  connection(state, detail) {
    byId("connection").dataset.state = state;
    setText(byId("connection").querySelector(".words"), CONNECTION_WORDS[state]);
    if (state === "open") {
      byId("server").textContent = `${detail.server} · connection ${detail.connection}`;
    }
    if (state === "open" || state === "waiting" || state === "closed") {
      this.#banner(state, detail);
    }
  }

  /** Words for a screen reader once; the seconds count down for the eye alone. */
  #banner(state, detail) {
    clearInterval(this.#countdown);
    byId("banner").hidden = state === "open";
    byId("banner").dataset.state = state;
    if (state === "open") {
      return;
    }
    const next = state === "waiting" ? "Trying again." : "It will not be tried again by itself.";
    byId("banner").querySelector("p").textContent = `${inWords(detail.code)} ${next}`;
    const due = performance.now() + (detail.delay ?? 0);
    const count = () => {
      const left = Math.max(0, Math.ceil((due - performance.now()) / 1000));
      setText(byId("banner").querySelector(".countdown"), state === "waiting" && left > 0 ? `${left} s` : "");
    };
    count();
    this.#countdown = setInterval(count, 250);
  }

  // The subscription

  /** `keys`: in words, "" for every key. */
  subscription(topic, keys) {
    this.began({});
    setText(byId("stream-title"), topic);
    byId("drop-key").hidden = keys === "";
    byId("drop-key").textContent = keys;
    document.title = `${topic} · Tailrace`;
  }

  /** `positions`: partition -> the offset where reading begins, as `subscribed` told it. */
  began(positions) {
    this.#began = positions;
  }

  /** `state`: idle, paused, or the subscription's. */
  state(state, words) {
    byId("state").dataset.state = state;
    setText(byId("state"), words);
    byId("stop").disabled = state === "idle";
  }

  paused(paused) {
    byId("pause").setAttribute("aria-pressed", String(paused));
    byId("pause").textContent = paused ? "Resume" : "Pause";
  }

  fault(words) {
    byId("fault").hidden = words === null;
    byId("fault").textContent = words ?? "";
  }

  empty(words) {
    byId("empty").hidden = words === null;
    setText(byId("empty"), words ?? "");
  }

  /** How many entries came since the table was held; null while it follows. */
  newer(count) {
    const shown = count !== null && count > 0;
    byId("newer").hidden = !shown;
    if (shown) {
      setText(byId("newer"), `${whole(count)} newer`);
    }
  }

  // Figures

  totals({ records, characters, tombstones, gaps }) {
    setText(byId("total-records"), whole(records));
    setText(byId("total-size"), size(characters));
    setText(byId("total-tombstones"), whole(tombstones));
    setText(byId("total-gaps"), whole(gaps));
    byId("total-gaps").classList.toggle("bad", gaps > 0);
  }

  meter(meter) {
    const { rate: perSecond, characters, p50, p99, clocksDiffer } = meter.headline();
    setText(byId("rate"), rate(perSecond));
    setText(byId("throughput"), `${size(characters)}/s`);
    setText(byId("p50"), p50 === null ? "–" : duration(p50));
    setText(byId("p99"), p99 === null ? "–" : duration(p99));
    setText(byId("latency-note"), clocksDiffer ? "this clock runs behind the records'" : "");
    this.#rateChart.show([{ name: "", values: meter.rates(), color: "--accent", fill: true }]);
    this.#latencyChart.show([
      { name: "p99", values: meter.quantiles(0.99), color: "--p99" },
      { name: "p50", values: meter.quantiles(0.5), color: "--accent", fill: true },
    ]);
  }

  /** Both by partition: the next offset, and how many records came. */
  positions(offsets, received) {
    const body = byId("positions").tBodies[0];
    const partitions = [...offsets.keys()].sort((a, b) => a - b);
    byId("positions").hidden = partitions.length === 0;
    byId("positions-none").hidden = partitions.length > 0;
    byId("copy-position").disabled = partitions.length === 0;
    while (body.rows.length > partitions.length) {
      body.deleteRow(-1);
    }
    const most = Math.max(1, ...received.values());
    partitions.forEach((partition, index) => {
      const row = body.rows[index] ?? positionRow(body);
      const count = received.get(partition) ?? 0;
      setText(row.cells[0], partition);
      setText(row.cells[1], String(this.#began[partition] ?? "–"));
      setText(row.cells[2].firstChild, whole(count));
      row.cells[2].lastChild.style.transform = `scaleX(${count / most})`;
      setText(row.cells[3], String(offsets.get(partition)));
    });
  }

  /** `keys`: [key, records], most first. */
  keys(keys) {
    const list = byId("keys");
    list.parentElement.hidden = keys.length < 2;
    while (list.children.length > keys.length) {
      list.lastChild.remove();
    }
    keys.forEach(([key, count], index) => {
      const line = list.children[index] ?? keyLine(list, (chosen) => this.#listener.filter(chosen));
      line.firstChild.value = key;
      setText(line.firstChild.children[0], key);
      setText(line.firstChild.children[1], whole(count));
      line.firstChild.lastChild.style.transform = `scaleX(${count / keys[0][1]})`;
    });
  }

  topicFacts(words) {
    setText(byId("topic-facts"), words);
  }

  copied() {
    byId("copy-position").textContent = "Copied";
    setTimeout(() => (byId("copy-position").textContent = "Copy"), 1500);
  }

  note(words, tone) {
    const line = element("li", { className: tone }, element("time", {}, clock(Date.now()).slice(0, 8)), words);
    byId("activity").prepend(line);
    while (byId("activity").children.length > JOURNAL_LINES) {
      byId("activity").lastChild.remove();
    }
  }
}

function positionRow(body) {
  const row = body.insertRow();
  const partition = element("th", { scope: "row" });
  const received = element("td", {}, element("span"), element("i", { className: "share" }));
  row.append(partition, element("td"), received, element("td"));
  return row;
}

function keyLine(list, chosen) {
  const bar = element("i", { className: "share" });
  const button = element("button", { type: "button", title: "Only this key" }, element("span"), element("span"), bar);
  button.addEventListener("click", () => chosen(button.value));
  const line = element("li", {}, button);
  list.append(line);
  return line;
}

/** What became of a lost connection, for the journal and the table. */
export function lossInWords({ code, reason, delay }) {
  const name = reason ? `${code} ${reason}` : String(code);
  const then = delay === null ? "" : ` Trying again in ${duration(Math.round(delay / 100) * 100)}.`;
  return `${inWords(code)} (${name})${then}`;
}

