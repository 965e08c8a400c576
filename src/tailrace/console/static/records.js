/**
 * The table of records: a window on the newest entries, of which only the rows in sight are in the DOM.
 *
 * Newest on top. While it follows, new entries push the others down; once it is paused or scrolled away from the top
 * it holds a snapshot, so that nothing moves or disappears under the reader's eyes, and counts what came since.
 * An entry is {seq, kind: "record" | "gap" | "note", characters, ...}; see rows.js for what else it has.
 */
import { buildRow } from "./rows.js";

const FLUSH_MS = 100; // ten times a second is live to the eye
const FLOOD_MS = 250; // when every row is new each time nobody can read along: spare the machine
const OVERSCAN = 6;
const CALM_ROWS = 12; // a second: when more come, a highlight on each would only flicker

export class RecordList {
  paused = false;
  #entries;
  #viewport;
  #body;
  #listener;
  #rows = new Map(); // seq -> its row
  #held = null; // the snapshot, newest first
  #heldTotal = 0; // entries there had ever been when it was taken
  #selected = null; // seq
  #pressed = null; // seq under the pointer when it went down: rows may have moved before the click
  #drawnAt = 0;
  #pace = FLUSH_MS;
  #recent = 0; // rows made in about the last second
  #queued = false;
  #rowHeight = 30;

  /** `entries`: {ring, total}; `listener`: selected(entry or null), held(count of newer entries, or null). */
  constructor(viewport, entries, listener) {
    this.#viewport = viewport;
    this.#body = viewport.querySelector(".body");
    this.#entries = entries;
    this.#listener = listener;
    viewport.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    viewport.addEventListener("pointerdown", (event) => (this.#pressed = seqOf(event.target)));
    viewport.addEventListener("click", () => this.#pressed !== null && this.select(this.#pressed));
    viewport.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#resized()).observe(viewport);
  }

  /** Something came, or changed: draw soon. */
  touch() {
    if (!this.#queued) {
      this.#queued = true;
      const wait = this.#drawnAt + this.#pace - performance.now();
      setTimeout(() => requestAnimationFrame(() => this.#draw()), Math.max(0, wait));
    }
  }

  pause() {
    this.paused = true;
    this.#hold();
    this.touch();
  }

  /** Follow again, from the top. */
  resume() {
    this.paused = false;
    this.#held = null;
    this.#viewport.scrollTop = 0;
    this.touch();
  }

  clear() {
    this.#held = this.paused ? [] : null;
    this.#heldTotal = this.#entries.total;
    this.#viewport.scrollTop = 0;
    this.select(null);
    this.touch();
  }

  select(seq) {
    this.#selected = seq === this.#selected ? null : seq;
    for (const [rowSeq, row] of this.#rows) {
      row.setAttribute("aria-selected", String(rowSeq === this.#selected));
    }
    this.#describeActive();
    this.#listener.selected(this.#indexOf(this.#selected) === -1 ? null : this.#source.at(this.#indexOf(this.#selected)));
  }

  get #source() {
    return this.#held ?? this.#entries.ring;
  }

  #hold() {
    if (this.#held === null) {
      this.#held = this.#entries.ring.snapshot();
      this.#heldTotal = this.#entries.total;
    }
  }

  #scrolled() {
    if (this.#viewport.scrollTop > this.#rowHeight / 2) {
      this.#hold();
    } else if (!this.paused) {
      this.#held = null;
    }
    this.touch();
  }

  #resized() {
    const height = parseFloat(getComputedStyle(this.#viewport).getPropertyValue("--row-height"));
    if (height !== this.#rowHeight) {
      this.#rowHeight = height;
      this.#rows.forEach((row) => row.remove());
      this.#rows.clear();
    }
    this.touch();
  }

  // Drawing

  #draw() {
    const now = performance.now();
    this.#recent *= Math.exp((this.#drawnAt - now) / 1000);
    this.#queued = false;
    this.#drawnAt = now;
    const source = this.#source;
    this.#body.style.height = `${source.length * this.#rowHeight}px`;
    const first = Math.max(0, Math.floor(this.#viewport.scrollTop / this.#rowHeight) - OVERSCAN);
    const shown = Math.ceil(this.#viewport.clientHeight / this.#rowHeight) + 2 * OVERSCAN;
    const kept = new Map();
    const made = [];
    for (let index = first; index < Math.min(source.length, first + shown); index++) {
      const entry = source.at(index);
      const row = this.#rows.get(entry.seq) ?? this.#make(entry, made);
      row.style.transform = `translateY(${index * this.#rowHeight}px)`;
      row.ariaRowIndex = String(index + 2);
      kept.set(entry.seq, row);
    }
    this.#replace(kept, made);
    this.#pace = made.length === shown ? FLOOD_MS : FLUSH_MS;
    this.#viewport.ariaRowCount = String(source.length + 1);
    this.#listener.held(this.#held === null ? null : this.#entries.total - this.#heldTotal);
  }

  #make(entry, made) {
    const row = buildRow(entry);
    row.id = `row-${entry.seq}`;
    row.dataset.seq = entry.seq;
    row.setAttribute("aria-selected", String(entry.seq === this.#selected));
    made.push(row);
    return row;
  }

  #replace(kept, made) {
    for (const [seq, row] of this.#rows) {
      if (!kept.has(seq)) {
        row.remove();
      }
    }
    const calm = this.#held === null && this.#rows.size > 0 && this.#recent + made.length <= CALM_ROWS;
    this.#recent += made.length;
    made.forEach((row) => row.classList.toggle("fresh", calm));
    this.#body.append(...made);
    this.#rows = kept;
    this.#describeActive();
  }

  #describeActive() {
    if (this.#rows.has(this.#selected)) {
      this.#viewport.setAttribute("aria-activedescendant", `row-${this.#selected}`);
    } else {
      this.#viewport.removeAttribute("aria-activedescendant");
    }
  }

  // Keyboard: arrows move the selection, Escape ends it

  #key(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    if (event.key in steps) {
      event.preventDefault();
      this.#move(steps[event.key]);
    } else if (event.key === "Escape") {
      this.select(null);
    }
  }

  #move(step) {
    const last = this.#source.length - 1;
    if (last < 0) {
      return;
    }
    const now = this.#indexOf(this.#selected);
    const index = now === -1 ? 0 : Math.min(last, Math.max(0, now + step));
    const seq = this.#source.at(index).seq;
    if (seq !== this.#selected) {
      this.select(seq);
    }
    this.#reveal(index);
  }

  #reveal(index) {
    const top = index * this.#rowHeight;
    const { scrollTop, clientHeight } = this.#viewport;
    const height = clientHeight - this.#body.offsetTop; // the head of the table stays in sight
    if (top < scrollTop) {
      this.#viewport.scrollTop = top;
    } else if (top + this.#rowHeight > scrollTop + height) {
      this.#viewport.scrollTop = top + this.#rowHeight - height;
    }
  }

  /** Where an entry is now: seqs fall by one from the newest down, except where the ring was cleared. */
  #indexOf(seq) {
    const source = this.#source;
    if (seq === null || source.length === 0) {
      return -1;
    }
    const index = source.at(0).seq - seq;
    return index >= 0 && index < source.length ? index : -1;
  }
}

function seqOf(target) {
  const row = target.closest("[data-seq]");
  return row === null ? null : Number(row.dataset.seq);
}
