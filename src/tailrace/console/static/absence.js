/**
 * What came of a topic while the connection was away, counted until the subscription is live again, offset by offset,
 * so that the page can say whether anything is missing or came twice instead of claiming it. Pure.
 */
import { counted, duration, whole } from "./format.js";

export class Absence {
  #next; // partition (a string) -> the offset that should come next, or a later one
  #since;
  #records = 0;
  #repeated = 0;
  #missing = 0; // offsets that gaps named
  #unknown = false; // a gap could not say how many

  /** `offsets`: partition (a string) -> next offset, as they were when the connection went; `since`: then, in ms. */
  constructor(offsets, since) {
    this.#next = new Map(offsets);
    this.#since = since;
  }

  record({ partition, offset }) {
    const next = this.#next.get(String(partition)) ?? 0;
    this.#repeated += offset < next ? 1 : 0;
    this.#records++;
    this.#next.set(String(partition), Math.max(next, offset + 1));
  }

  gap({ partition, from, to, next }) {
    this.#unknown ||= to === null;
    this.#missing += to === null ? 0 : to - from;
    this.#next.set(String(partition), next); // even when it is lower: the log itself went back
  }

  get whole() {
    return this.#repeated === 0 && this.#missing === 0 && !this.#unknown;
  }

  /** What there is to say once the subscription is live again, `now` in ms. */
  inWords(now) {
    const away = `Away for ${duration(Math.round((now - this.#since) / 100) * 100)}.`;
    const came = this.#records === 0 ? "Nothing came meanwhile" : `${counted(this.#records, "record")} came meanwhile`;
    if (this.#repeated > 0) {
      return `${away} ${came}, ${whole(this.#repeated)} of them for the second time.`;
    }
    if (!this.whole) {
      const gone = this.#unknown ? "some" : counted(this.#missing, "offset");
      return `${away} ${came} that Kafka still has; ${gone} missing, as told.`;
    }
    return this.#records === 0 ? `${away} ${came}: nothing is missing.` : `${away} ${came}: all here, each once.`;
  }
}
