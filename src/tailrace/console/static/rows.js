/** One row of the table, for each kind of entry. Built once; the list only moves it. */
import { element } from "./element.js";
import { clock, counted, duration } from "./format.js";
import { renderJson } from "./json.js";

const PREVIEW_CHARACTERS = 320; // more than any screen is wide

const REASONS = {
  retention: "Kafka no longer has them",
  slow: "this page read too slowly",
  too_large: "too large for the gateway",
  truncated: "the log was cut back",
  topic_recreated: "the topic was deleted and created again",
};

/**
 * `entry`: {kind: "record", record, latency (ms or null)}, {kind: "gap", gap, at} or {kind: "note", text, tone, at}.
 */
export function buildRow(entry) {
  return { record: recordRow, gap: gapRow, note: noteRow }[entry.kind](entry);
}

function recordRow({ record, latency }) {
  const row = element("div", { className: "row", role: "row" });
  row.append(
    cell("time", record.timestamp === null ? "no time" : clock(record.timestamp)),
    placeCell(record),
    keyCell(record),
    valueCell(record),
    headersCell(record.headers ?? []),
    cell("late", latency === null ? "" : duration(Math.max(0, latency))),
  );
  return row;
}

function cell(name, ...children) {
  return element("span", { className: `cell ${name}`, role: "gridcell" }, ...children);
}

function placeCell({ partition, offset }) {
  return cell("place", element("b", {}, String(partition)), `:${offset}`);
}

function keyCell({ key, key_encoding: encoding }) {
  if (key === null) {
    return cell("key", element("i", {}, "no key"));
  }
  return cell("key", encoding === undefined ? null : badge(encoding), element("span", {}, key));
}

function valueCell({ value, encoding, tombstone }) {
  if (tombstone) {
    return cell("value", badge("tombstone", "tombstone"), element("i", {}, "the key was deleted"));
  }
  const shown = cell("value", encoding === undefined ? null : badge(encoding));
  if (encoding === undefined) {
    renderJson(shown, value, { indent: 0, limit: PREVIEW_CHARACTERS });
  } else {
    shown.append(value.slice(0, PREVIEW_CHARACTERS));
  }
  return shown;
}

function headersCell(headers) {
  const shown = cell("headers", headers.length === 0 ? "" : String(headers.length));
  shown.title = headers.map(([name, value]) => `${name}: ${value ?? "null"}`).join("\n");
  return shown;
}

export function badge(text, kind = "encoding") {
  return element("em", { className: `badge ${kind}` }, text);
}

function gapRow({ gap, at }) {
  return markRow("gap", at, badge("gap", "gap"), gapInWords(gap));
}

export function gapInWords({ partition, from, to, next, reason }) {
  const why = REASONS[reason] ?? reason;
  if (to === null) {
    return `Partition ${partition}: records from offset ${from} on are missing: ${why}. It goes on at ${next}.`;
  }
  const missing = counted(to - from, "offset");
  return `Partition ${partition}: ${missing} missing, ${from} to ${to - 1}: ${why}. It goes on at ${next}.`;
}

function noteRow({ text, tone, at }) {
  return markRow(`note ${tone}`, at, text);
}

function markRow(kind, at, ...children) {
  const words = element("span", { className: "cell words", role: "gridcell" }, ...children);
  words.title = words.textContent;
  return element("div", { className: `row ${kind}`, role: "row" }, cell("time", clock(at)), words);
}
