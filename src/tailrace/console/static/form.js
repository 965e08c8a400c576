/**
 * The subscription form: what to read, from where, with which token. It says what was asked for once that can be
 * understood, and otherwise what is wrong, beside the field.
 */
import { DEFAULTS, fromOf, keysOf, keysText, kindOf } from "./asked.js";
import { element, setText } from "./element.js";

const CHIPS = 12; // topics to press; all of them are offered while typing
const byId = (id) => document.getElementById(id);

/** Of a `from` that takes a detail: what is typed there. */
const DETAILS = {
  last: { placeholder: "100", label: "How many of each partition", value: "100" },
  timestamp: { placeholder: "15m, 14:30 or a date", label: "Which time: 15m ago, 14:30 or a date", value: "15m" },
  offsets: { placeholder: "0=124,1=88", label: "Which offset of each partition", value: "" },
};

export class Form {
  #listener;
  #running = null; // what the fields held when it was last started

  /** `listener`: present(token or ""), start(asked), fault(words). */
  constructor(topics, listener) {
    this.#listener = listener;
    this.#offer(topics);
    byId("from").addEventListener("change", () => this.#showDetail(DETAILS[byId("from").value]?.value ?? ""));
    byId("subscribe").addEventListener("input", () => this.showStart());
    byId("subscribe").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  #offer(topics) {
    const chips = topics.slice(0, CHIPS).map((topic) => {
      const button = element("button", { type: "button", className: "topic", textContent: topic, value: topic });
      button.addEventListener("click", () => this.#listener.start({ ...this.#kept(), topic, keys: null }));
      return button;
    });
    const more = topics.length - chips.length;
    byId("topics").append(...chips, more > 0 ? element("span", { className: "more" }, `and ${more} more to type`) : "");
    byId("topics").hidden = topics.length === 0;
    byId("topic-names").append(...topics.map((topic) => element("option", { value: topic })));
  }

  /** What goes for another topic as well. */
  #kept() {
    const kind = byId("from").value;
    try {
      const from = kind === "offsets" || kind === "snapshot" ? DEFAULTS.from : fromOf(kind, byId("from-detail").value);
      return { from, slow: byId("slow").value };
    } catch {
      return { from: DEFAULTS.from, slow: byId("slow").value };
    }
  }

  #submit() {
    let asked;
    try {
      asked = {
        topic: byId("topic").value.trim(),
        keys: keysOf(byId("keys-asked").value),
        from: fromOf(byId("from").value, byId("from-detail").value),
        slow: byId("slow").value,
      };
    } catch (error) {
      this.#listener.fault(error.message);
      return;
    }
    const typed = byId("from-detail").value; // 15m is 15m again at the next start
    this.#listener.present(byId("token").value.trim());
    this.#listener.start(asked);
    byId("from-detail").value = typed;
    this.started();
  }

  /** Show what runs now. */
  show({ topic, keys, from, slow }) {
    const [kind, detail] = kindOf(from);
    byId("topic").value = topic;
    byId("keys-asked").value = keysText(keys);
    byId("from").value = kind;
    byId("slow").value = slow;
    this.#showDetail(detail);
    for (const button of byId("topics").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.value === topic));
    }
    this.started();
  }

  #showDetail(value) {
    const detail = byId("from-detail");
    const wanted = DETAILS[byId("from").value];
    detail.classList.toggle("unused", wanted === undefined);
    detail.disabled = wanted === undefined;
    detail.required = wanted !== undefined;
    detail.placeholder = wanted?.placeholder ?? "";
    detail.setAttribute("aria-label", wanted?.label ?? "");
    detail.value = value;
    this.showStart();
  }

  started() {
    this.#running = this.#fields;
    this.showStart();
  }

  get #fields() {
    return JSON.stringify(["topic", "keys-asked", "from", "from-detail", "slow", "token"].map((id) => byId(id).value.trim()));
  }

  /** Start is there to be pressed when nothing runs, or something else is asked for than runs. */
  showStart() {
    const stopped = byId("stop").disabled;
    const changed = this.#fields !== this.#running;
    byId("start").disabled = !stopped && !changed;
    setText(byId("start"), stopped || !changed ? "Start" : "Switch");
  }
}
