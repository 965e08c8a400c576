/**
 * What the page keeps of a stream, all of it bounded: the newest entries, and per second how many came and how late.
 * Pure.
 */

export const WINDOW_SECONDS = 90;
const RATE_SECONDS = 3;
const LATENCY_SECONDS = 10;

/** The newest entries, bounded in number and in characters of JSON; `push` is O(1) amortised. Entry 0 is the newest. */
export class Ring {
  length = 0;
  #slots;
  #head = 0; // where the next one goes
  #characters = 0;

  constructor(capacity, maxCharacters) {
    this.#slots = new Array(capacity);
    this.maxCharacters = maxCharacters;
  }

  push(entry) {
    const capacity = this.#slots.length;
    if (this.length === capacity) {
      this.#dropOldest();
    }
    this.#slots[this.#head] = entry;
    this.#head = (this.#head + 1) % capacity;
    this.length++;
    this.#characters += entry.characters;
    while (this.#characters > this.maxCharacters && this.length > 1) {
      this.#dropOldest();
    }
  }

  at(index) {
    const capacity = this.#slots.length;
    return index < this.length ? this.#slots[(this.#head - 1 - index + 2 * capacity) % capacity] : undefined;
  }

  /** The entries as they are now, newest first. */
  snapshot() {
    return Array.from({ length: this.length }, (_, index) => this.at(index));
  }

  clear() {
    this.#slots.fill(undefined);
    this.length = this.#head = this.#characters = 0;
  }

  #dropOldest() {
    const capacity = this.#slots.length;
    const oldest = (this.#head - this.length + capacity) % capacity;
    this.#characters -= this.#slots[oldest].characters;
    this.#slots[oldest] = undefined;
    this.length--;
  }
}

/** The keys that came most among the entries, most first: at most `count` of [key, records]. Binary ones are left out. */
export function busiestKeys(ring, count) {
  const found = new Map();
  for (let index = 0; index < ring.length; index++) {
    const { record } = ring.at(index);
    if (typeof record?.key === "string" && record.key_encoding === undefined) {
      found.set(record.key, (found.get(record.key) ?? 0) + 1);
    }
  }
  return [...found].sort(([, a], [, b]) => b - a).slice(0, count);
}

/** Counts of whole milliseconds: exact below 32, then 16 steps an octave (within 6 %), up to a day. */
export class Histogram {
  counts = new Uint32Array(32 + 16 * 23);
  total = 0;

  add(ms) {
    this.counts[bucket(Math.min(Math.max(ms, 0), 86_400_000))]++;
    this.total++;
  }

  merge(other) {
    this.counts.forEach((_, index) => {
      this.counts[index] += other.counts[index];
    });
    this.total += other.total;
  }

  /** The smallest value that `share` of all are at or below; null when there are none. */
  quantile(share) {
    let left = Math.ceil(share * this.total);
    for (let index = 0; index < this.counts.length && this.total > 0; index++) {
      left -= this.counts[index];
      if (left <= 0) {
        return lowest(index);
      }
    }
    return null;
  }
}

function bucket(ms) {
  if (ms < 32) {
    return ms;
  }
  const octave = 31 - Math.clz32(ms) - 4; // 1 for 32..63, whose step is 2
  return 32 + 16 * (octave - 1) + ((ms >> octave) - 16);
}

function lowest(index) {
  if (index < 32) {
    return index;
  }
  const octave = Math.floor((index - 32) / 16) + 1;
  return (16 + ((index - 32) % 16)) << octave;
}

/** Rates and latencies, second by second. Time is the caller's: milliseconds that never go back. */
export class Meter {
  seconds = []; // whole ones, oldest first: {records, characters, early, latency: Histogram}
  #current = second();
  #number = null; // of the current second

  /** `latencyMs`: null when it says nothing (no timestamp, or a record from the past). */
  record(now, characters, latencyMs) {
    this.advance(now);
    this.#current.records++;
    this.#current.characters += characters;
    if (latencyMs !== null) {
      this.#current.latency.add(latencyMs);
      this.#current.early += latencyMs < -2 ? 1 : 0;
    }
  }

  /** Close the seconds that are over; a page in the background may be told late. */
  advance(now) {
    const number = Math.floor(now / 1000);
    const passed = this.#number === null ? 0 : Math.min(number - this.#number, WINDOW_SECONDS);
    for (let closed = 0; closed < passed; closed++) {
      this.seconds.push(this.#current);
      this.#current = second();
    }
    this.seconds.splice(0, this.seconds.length - WINDOW_SECONDS);
    this.#number = number;
  }

  /** Records a second, of each second. */
  rates() {
    return this.seconds.map(({ records }) => records);
  }

  /** A latency quantile of each second, null for one without records. */
  quantiles(share) {
    return this.seconds.map(({ latency }) => latency.quantile(share));
  }

  /** Now: records and characters a second (over 3 s); p50 and p99 in ms (over 10 s; null without records). */
  headline() {
    const latency = new Histogram();
    const recent = this.seconds.slice(-LATENCY_SECONDS);
    recent.forEach((one) => latency.merge(one.latency));
    const early = recent.reduce((sum, one) => sum + one.early, 0);
    return {
      rate: this.#mean("records"),
      characters: this.#mean("characters"),
      p50: latency.quantile(0.5),
      p99: latency.quantile(0.99),
      clocksDiffer: early * 2 > latency.total,
    };
  }

  clear() {
    this.seconds = [];
    this.#current = second();
  }

  #mean(name) {
    const recent = this.seconds.slice(-RATE_SECONDS);
    return recent.reduce((sum, one) => sum + one[name], 0) / Math.max(1, recent.length);
  }
}

function second() {
  return { records: 0, characters: 0, early: 0, latency: new Histogram() };
}
