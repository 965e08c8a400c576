/**
 * The page's side of worker.js: a client and its subscriptions to use as if they were here. A listener hears
 *   subscribed(message, resumed)  record(record, characters, latency in ms or null)  gap(message)  live()  moved()
 *   interrupted(offsets)               the connection is gone; the subscription comes back with it, at these
 *   waiting(code, message)             the gateway cannot serve it yet; it is asked again
 *   ended(code, message, resuming)     it is over; `resuming`: the gateway would not continue at the kept place
 */

export class RemoteConnection {
  #worker;
  #url;
  #listener;
  #subscriptions = new Map(); // number -> RemoteSubscription
  #answers = new Map(); // number of what was published -> who waits for the answer
  #count = 0;

  /** `listener.changed(state, detail)` as the client's onState. Connects at once. */
  constructor(url, listener) {
    this.#listener = listener;
    this.#worker = new Worker(workerUrl(), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#replay(data);
    this.#worker.postMessage(["connect", url.href, ""]);
    this.#url = url;
  }

  /** Connect anew, with this token or ("") none; every subscription is gone. */
  present(token) {
    this.#subscriptions.clear();
    this.#worker.postMessage(["connect", this.#url.href, token]);
  }

  /** Connect now instead of waiting on, or after a close for good. */
  open() {
    this.#worker.postMessage(["open"]);
  }

  /** `options`: from, keys, slow, as the client's; `resumed`: it continues another, at its place. */
  subscribe(topic, options, listener, resumed) {
    const subscription = new RemoteSubscription(++this.#count, listener, this);
    this.#subscriptions.set(subscription.number, subscription);
    this.#worker.postMessage(["subscribe", subscription.number, topic, options, resumed]);
    return subscription;
  }

  /** `fields`: of the command; `answered` gets the gateway's answer, or {type: "error", code: "disconnected" or "lost"}. */
  publish(fields, answered) {
    this.#answers.set(++this.#count, answered);
    this.#worker.postMessage(["publish", this.#count, fields]);
  }

  unsubscribe({ number }) {
    this.#subscriptions.delete(number);
    this.#worker.postMessage(["unsubscribe", number]);
  }

  #replay({ events, places }) {
    for (const [number, place] of Object.entries(places)) {
      Object.assign(this.#subscriptions.get(Number(number)) ?? {}, place);
    }
    for (const [number, what, ...details] of events) {
      if (what === "answered") {
        this.#answered(...details);
        continue;
      }
      const listener = number === null ? this.#listener : this.#subscriptions.get(number)?.listener;
      listener?.[what]?.(...details);
    }
  }

  #answered(number, answer) {
    const told = this.#answers.get(number);
    this.#answers.delete(number);
    told?.(answer);
  }
}

class RemoteSubscription {
  state = "waiting";
  place = undefined; // the `from` that continues here

  constructor(number, listener, connection) {
    this.number = number;
    this.listener = listener;
    this.connection = connection;
  }

  /** [partition, next offset], of what came. */
  get offsets() {
    return new Map(Object.entries(this.place?.offsets ?? {}));
  }

  close() {
    this.connection.unsubscribe(this);
  }
}

/** Under Trusted Types, which the page's policy demands, a worker's address must be vouched for. */
function workerUrl() {
  const url = new URL("worker.js", import.meta.url).href;
  const policy = globalThis.trustedTypes?.createPolicy("tailrace", { createScriptURL: () => url });
  return policy?.createScriptURL("") ?? url;
}
