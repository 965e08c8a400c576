/** The page's side of worker.js: a connection and its subscriptions to use as if they were here. */

export class RemoteConnection {
  #worker;
  #listener;
  #subscriptions = new Map(); // number -> RemoteSubscription
  #count = 0;

  /** `listener.changed(state, detail)` as in connection.js. Connects at once. */
  constructor(url, listener) {
    this.#listener = listener;
    this.#worker = new Worker(workerUrl(), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#replay(data);
    this.#worker.postMessage(["connect", url.href]);
  }

  /** Connect now instead of waiting on, or after a close for good. */
  open() {
    this.#worker.postMessage(["open"]);
  }

  /** As Connection.subscribe(); the listener's record() gets the latency in ms, or null, as a third argument. */
  subscribe(request, listener) {
    const subscription = new RemoteSubscription(++this.#count, listener, this);
    this.#subscriptions.set(subscription.number, subscription);
    this.#worker.postMessage(["subscribe", subscription.number, request]);
    return subscription;
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
      const listener = number === null ? this.#listener : this.#subscriptions.get(number)?.listener;
      listener?.[what]?.(...details);
    }
  }
}

class RemoteSubscription {
  state = "new";
  resuming = false;
  offsets = new Map(); // partition -> next offset

  constructor(number, listener, connection) {
    this.number = number;
    this.listener = listener;
    this.connection = connection;
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
