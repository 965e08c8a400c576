/** The whole of one record beside the table: where it stands, its headers, its value indented. */
import { element } from "./element.js";
import { clock, counted, duration, whole } from "./format.js";
import { renderJson } from "./json.js";
import { badge, gapInWords } from "./rows.js";

const VALUE_CHARACTERS = 100_000; // beyond this a browser's layout, not the reader, is the one that works

export class Inspector {
  #root;
  #content;
  #listener;

  /** `listener`: closed(), filtered(key). */
  constructor(root, listener) {
    this.#root = root;
    this.#content = root.querySelector(".inspector-content");
    this.#listener = listener;
    root.querySelector(".close").addEventListener("click", () => listener.closed());
    root.addEventListener("keydown", (event) => event.key === "Escape" && listener.closed());
  }

  show(entry) {
    this.#root.hidden = entry === null;
    document.body.classList.toggle("inspecting", entry !== null);
    if (entry !== null) {
      const parts = entry.kind === "record" ? this.#record(entry) : [element("p", {}, inWords(entry))];
      this.#content.replaceChildren(...parts);
      this.#content.scrollTop = 0;
    }
  }

  #record({ record, latency, characters }) {
    return [
      facts([
        ["Topic", record.topic],
        ["Partition", String(record.partition)],
        ["Offset", String(record.offset)],
        ["Time", record.timestamp === null ? "none" : `${dayOf(record.timestamp)} ${clock(record.timestamp)}`],
        ["Delivered", latency === null ? "while catching up" : `${duration(Math.max(0, latency))} later`],
        ["Message", `${whole(characters)} characters`],
      ]),
      this.#key(record),
      headers(record.headers ?? []),
      value(record),
    ];
  }

  #key({ key, key_encoding: encoding }) {
    const title = heading("Key", encoding);
    if (key === null) {
      return section(title, element("p", { className: "none" }, "This record has no key."));
    }
    if (encoding === undefined) {
      const only = element("button", { type: "button", className: "quiet", textContent: "Only this key" });
      only.addEventListener("click", () => this.#listener.filtered(key));
      title.append(only);
    }
    return section(title, element("pre", { className: "block wrapped" }, key));
  }
}

function inWords(entry) {
  return entry.kind === "gap" ? gapInWords(entry.gap) : entry.text;
}

function dayOf(epochMs) {
  const moment = new Date(epochMs);
  const two = (part) => String(part).padStart(2, "0");
  return `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}`;
}

function facts(pairs) {
  const items = pairs.map(([name, text]) => element("div", {}, element("dt", {}, name), element("dd", {}, text)));
  return element("dl", { className: "facts" }, ...items);
}

function section(title, ...children) {
  return element("section", {}, title, ...children);
}

function heading(text, encoding) {
  return element("h3", {}, text, encoding === undefined ? null : badge(encoding));
}

function headers(pairs) {
  const title = heading("Headers");
  if (pairs.length === 0) {
    return section(title, element("p", { className: "none" }, "This record has no headers."));
  }
  const rows = pairs.map(([name, text, encoding]) => {
    const shown = text === null ? element("i", {}, "null") : element("span", {}, text);
    return element("div", {}, element("dt", {}, name), element("dd", {}, encoding ? badge(encoding) : null, shown));
  });
  return section(title, element("dl", { className: "block pairs" }, ...rows));
}

function value({ value: content, encoding, tombstone }) {
  const title = heading("Value", encoding);
  if (tombstone) {
    const words = "A tombstone: the key was deleted. A compacted topic forgets the key after a while.";
    return section(title, element("p", { className: "none" }, words));
  }
  const whole = encoding === undefined ? () => JSON.stringify(content, null, 2) : () => content;
  title.append(copyButton(whole));
  const block = element("pre", { className: "block value", tabIndex: 0, label: "Value" });
  const complete = encoding === undefined ? renderJson(block, content, { indent: 2, limit: VALUE_CHARACTERS }) : text(block, content);
  const cut = element("p", { className: "none" }, `Only the first ${counted(VALUE_CHARACTERS, "character")} are shown.`);
  return section(title, block, complete ? null : cut);
}

function text(block, content) {
  block.classList.add("wrapped");
  block.append(content.slice(0, VALUE_CHARACTERS));
  return content.length <= VALUE_CHARACTERS;
}

/** Where the browser allows it (a secure context); `content()` is only called when pressed. */
function copyButton(content) {
  const button = element("button", { type: "button", className: "quiet", textContent: "Copy" });
  button.hidden = navigator.clipboard === undefined;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(content());
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return button;
}
