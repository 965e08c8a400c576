/**
 * A JSON value as coloured text: on one line for the table, indented for reading. Both stop at a number of characters,
 * so that a value of megabytes costs no more than one of a few hundred.
 */

/** Append the value to `parent` as spans. `indent`: spaces a level, 0 for one line. Returns whether all of it fitted. */
export function renderJson(parent, value, { indent, limit }) {
  const writer = new Writer(parent, indent, limit);
  writer.value(value, 0);
  writer.flush();
  return !writer.full;
}

class Writer {
  #parent;
  #indent;
  #left;
  #plain = ""; // punctuation and space wait here, to become one text node

  constructor(parent, indent, limit) {
    this.#parent = parent;
    this.#indent = indent;
    this.#left = limit;
  }

  get full() {
    return this.#left <= 0;
  }

  value(value, level) {
    if (this.full) {
      return;
    }
    if (value === null || typeof value !== "object") {
      this.#scalar(value);
    } else if (Array.isArray(value)) {
      this.#nested("[", "]", value.entries(), level, false);
    } else {
      this.#nested("{", "}", Object.entries(value), level, true);
    }
  }

  flush() {
    if (this.#plain !== "") {
      this.#parent.append(this.#plain);
      this.#plain = "";
    }
  }

  #nested(open, close, entries, level, named) {
    let first = true;
    this.#text(open);
    for (const [name, value] of entries) {
      if (this.full) {
        return;
      }
      this.#text(first ? "" : ",");
      this.#break(level + 1, !first || named);
      if (named) {
        this.#span("json-name", this.#indent > 0 ? JSON.stringify(name) : name);
        this.#text(": ");
      }
      this.value(value, level + 1);
      first = false;
    }
    if (!first) {
      this.#break(level, named);
    }
    this.#text(close);
  }

  #scalar(value) {
    // Cut before quoting: a string of megabytes is not copied for the sake of its first line.
    const shown = typeof value === "string" ? JSON.stringify(value.slice(0, this.#left + 1)) : String(value);
    this.#span(`json-${value === null ? "null" : typeof value}`, shown);
  }

  #break(level, spaced) {
    if (this.#indent > 0) {
      this.#text("\n" + " ".repeat(level * this.#indent));
    } else if (spaced) {
      this.#text(" ");
    }
  }

  #text(text) {
    const fitting = this.#take(text);
    this.#plain += fitting;
  }

  #span(name, text) {
    const fitting = this.#take(text);
    if (fitting === "") {
      return;
    }
    this.flush();
    const span = document.createElement("span");
    span.className = name;
    span.textContent = fitting;
    this.#parent.append(span);
  }

  #take(text) {
    const fitting = text.slice(0, Math.max(0, this.#left));
    this.#left -= text.length;
    return fitting;
  }
}
