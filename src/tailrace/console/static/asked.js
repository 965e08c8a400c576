/**
 * What a reader asks for: {topic, keys (a list, or null: every one), from, slow}, as the form has it, as the page's
 * address keeps it, and as the gateway takes it. `from` is in the words of a /topics URL: latest, last:100, ... Pure.
 */

export const DEFAULTS = { keys: null, from: "latest", slow: "wait" };
const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 };

/**
 * `from` for a choice of the form: latest, earliest, snapshot, last (detail: a number), timestamp (15m ago, 14:30, a
 * date, epoch milliseconds) or offsets (0=124,1=88). Throws RangeError with words for whoever typed the detail.
 */
export function fromOf(kind, detail, now = Date.now()) {
  const text = detail.trim();
  if (kind === "last") {
    return `last:${matched(/^\d{1,15}$/, text, "a number of records, such as 100")[0]}`;
  }
  if (kind === "timestamp") {
    return `timestamp:${new Date(moment(text, now)).toISOString()}`;
  }
  if (kind === "offsets") {
    return `offsets:${matched(/^(?:offsets:)?(\d+=\d+(?:,\d+=\d+)*)$/, text, "offsets, such as 0=124,1=88")[1]}`;
  }
  return matched(/^(?:latest|earliest|snapshot)$/, kind, "a place to begin")[0];
}

function matched(pattern, text, wanted) {
  const found = pattern.exec(text);
  if (found === null) {
    throw new RangeError(`“${text}” is not ${wanted}.`);
  }
  return found;
}

/** Epoch milliseconds. A time of day without a date is the last one that was. */
function moment(text, now) {
  const ago = /^(\d{1,6})\s*([smhd])(?: ago)?$/.exec(text);
  if (ago !== null) {
    return now - Number(ago[1]) * SECONDS[ago[2]] * 1000;
  }
  const time = /^(\d{1,2}):(\d{2})(?::(\d{2}))?$/.exec(text);
  if (time !== null) {
    const today = new Date(now).setHours(Number(time[1]), Number(time[2]), Number(time[3] ?? 0), 0);
    return today > now ? new Date(today).setDate(new Date(today).getDate() - 1) : today;
  }
  const read = /^\d{12,14}$/.test(text) ? Number(text) : Date.parse(text.replace(" ", "T"));
  if (!(read >= 0)) {
    throw new RangeError(`“${text}” is not a time, such as 15m, 14:30 or 2026-11-23 10:00.`);
  }
  return read;
}

/** [kind, detail] of the form for a `from`. */
export function kindOf(from) {
  const [, kind, detail] = /^(\w+):?(.*)$/.exec(from) ?? ["", "latest", ""];
  return [kind, detail];
}

/** As a subscribe command takes it. */
export function onWire(from) {
  const [kind, detail] = kindOf(from);
  const forms = {
    last: () => ({ last: Number(detail) }),
    timestamp: () => ({ timestamp: detail }),
    offsets: () => ({ offsets: Object.fromEntries(detail.split(",").map(offsetOf)) }),
  };
  return forms[kind]?.() ?? kind;
}

function offsetOf(text) {
  const [partition, offset] = text.split("=");
  return [partition, Number(offset)];
}

/** "from the last 100 of each partition" */
export function fromInWords(from) {
  const [kind, detail] = kindOf(from);
  const words = {
    latest: "from now on",
    earliest: "from the oldest record there is",
    snapshot: "from the newest record of every key",
    last: `from the last ${detail} of each partition`,
    timestamp: `from ${detail} on`,
    offsets: `from offsets ${detail}`,
  };
  return words[kind];
}

/** Keys as they are typed: a comma between them, or a JSON list, in which null stands for records without a key. */
export function keysOf(text) {
  if (text.trim().startsWith("[")) {
    return listOf(text);
  }
  const keys = text.split(",").map((key) => key.trim()).filter((key) => key !== "");
  return keys.length === 0 ? null : keys;
}

function listOf(text) {
  const wanted = 'a JSON list of keys, such as ["a,b", null]';
  let keys;
  try {
    keys = JSON.parse(text);
  } catch {
    keys = [];
  }
  if (keys.length === 0 || keys.some((key) => key !== null && typeof key !== "string")) {
    throw new RangeError(`“${text.trim()}” is not ${wanted}.`);
  }
  return keys;
}

/** The shortest that `keysOf` reads back as the same. */
export function keysText(keys) {
  if (keys === null) {
    return "";
  }
  const plain = keys.every((key) => key !== null && key !== "" && key === key.trim() && !/^\[|,/.test(key));
  return plain ? keys.join(", ") : JSON.stringify(keys);
}

/** The part of the page's address behind #; what is left out is as by default. */
export function toFragment({ topic, keys, from, slow }) {
  const pairs = { topic, keys: keysText(keys), from, slow };
  const said = Object.entries(pairs).filter(([name, value]) => value !== "" && value !== DEFAULTS[name]);
  return new URLSearchParams(said).toString();
}

/** Null when it names no topic; what cannot be read in it is as by default. */
export function fromFragment(fragment) {
  const said = new URLSearchParams(fragment);
  const read = (what, otherwise) => {
    try {
      return what();
    } catch {
      return otherwise;
    }
  };
  return said.get("topic") && {
    topic: said.get("topic"),
    keys: said.has("key") ? said.getAll("key") : read(() => keysOf(said.get("keys") ?? ""), null),
    from: read(() => fromOf(...kindOf(said.get("from") ?? "latest")), DEFAULTS.from),
    slow: said.get("slow") ?? DEFAULTS.slow,
  };
}
