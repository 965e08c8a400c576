/**
 * A connection to a gateway's /ws, and the subscriptions on it. It stays up by itself: after a close it comes back as
 * the close code says (disconnect.js) and continues every subscription at its place (position.js).
 *
 * Rules: one name space of ids, each in use from the command to its last answer. Unknown types and fields are ignored.
 * A subscription is the caller's until close() or until the gateway ends it; its listener hears what comes in between:
 *   subscribed(message)  record(message, characters)  gap(message)  live()  moved()      as sent by the gateway
 *   interrupted()                      the connection is gone; the subscription comes back with it
 *   waiting(code, message, ms)         the gateway cannot serve it yet; it asks again by itself
 *   ended(code, message, resuming)     it is over; `resuming`: the gateway would not continue at the kept place
 * No DOM here. Left out: publishing, authentication.
 */
import { backoff, reconnects } from "./disconnect.js";
import { Position } from "./position.js";

export const SUBPROTOCOL = "tailrace.v1.json";

const LAST_ID = 65_535;
const WELCOME_MS = 15_000; // the gateway itself gives a handshake 10 s
const PONG_MS = 10_000; // from our ping to any message, before the connection counts as dead
const SETTLED_MS = 5_000; // a connection that lasted this long was a good one: back-off starts anew
const PASSING = new Set(["kafka_unavailable", "rate_limited"]); // refusals that time heals

export class Subscription {
  position = new Position();
  state = "new"; // new -> pending -> catching-up -> live -> ended; back to new when the connection goes
  id = null;
  attempts = 0;

  constructor(connection, request, listener) {
    this.connection = connection;
    this.request = request;
    this.listener = listener;
  }

  get topic() {
    return this.request.topic;
  }

  close() {
    this.connection.unsubscribe(this);
  }
}

export class Connection {
  state = "closed"; // closed | connecting | open | waiting
  welcome = null;
  #url;
  #listener;
  #socket = null;
  #owners = new Map(); // id in use -> Subscription, or a function that takes the answer
  #subscriptions = new Set();
  #nextId = 1;
  #attempts = 0;
  #timers = new Map(); // name -> timer
  #heardAt = 0;
  #openedAt = 0;
  #closing = null; // the gateway's `closing`, until the socket closes

  /** `listener.changed(state, detail)`: detail is {code, reason, delay} after a close, `welcome` when open. */
  constructor(url, listener) {
    this.#url = url;
    this.#listener = listener;
  }

  /** Connect now: at the start, after a close for good, or instead of waiting on. */
  open() {
    if (this.state === "connecting" || this.state === "open") {
      return;
    }
    this.#stop("reconnect");
    this.#change("connecting");
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    this.#socket = socket;
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#lost(event.code, event.reason);
    this.#after("watch", WELCOME_MS, () => this.#abandon(1006, "no welcome"));
  }

  /** Leave for good; subscriptions come back with the next open(). */
  close() {
    this.#stop("reconnect");
    this.#abandon(1000, "");
  }

  /** `request`: {topic, from?, keys?, slow?, interval_ms?}, as in the protocol's `subscribe`. */
  subscribe(request, listener) {
    const subscription = new Subscription(this, request, listener);
    this.#subscriptions.add(subscription);
    this.#ask(subscription);
    return subscription;
  }

  unsubscribe(subscription) {
    this.#subscriptions.delete(subscription);
    this.#stop(subscription);
    if (subscription.state !== "ended" && subscription.id !== null) {
      this.#send({ type: "unsubscribe", id: subscription.id });
    }
    subscription.state = "ended"; // its id stays in use until `unsubscribed`
  }

  #ask(subscription) {
    if (this.state !== "open" || subscription.state !== "new") {
      return;
    }
    const { position, request } = subscription;
    subscription.id = this.#newId(subscription);
    subscription.state = "pending";
    subscription.resuming = position.known;
    const from = position.known ? { from: position.toFrom() } : {};
    this.#send({ type: "subscribe", id: subscription.id, ...request, ...from });
  }

  #newId(owner) {
    do {
      this.#nextId = (this.#nextId % LAST_ID) + 1;
    } while (this.#owners.has(this.#nextId));
    this.#owners.set(this.#nextId, owner);
    return this.#nextId;
  }

  #send(command) {
    this.#socket.send(JSON.stringify(command));
  }

  // What the gateway sends

  #receive(data) {
    this.#heardAt = performance.now();
    const message = JSON.parse(data);
    const owner = this.#owners.get(message.id);
    if (owner instanceof Subscription) {
      this.#forSubscription[message.type]?.(owner, message, data.length);
    } else if (owner !== undefined) {
      this.#owners.delete(message.id);
      owner(message);
    } else {
      this.#forConnection[message.type]?.(message);
    }
  }

  #forConnection = {
    __proto__: null,
    welcome: (message) => {
      this.welcome = message;
      this.#openedAt = performance.now();
      this.#change("open", message);
      this.#subscriptions.forEach((subscription) => this.#ask(subscription));
      this.#watch();
    },
    closing: (message) => {
      this.#closing = message;
    },
  };

  #forSubscription = {
    __proto__: null,
    record: (subscription, message, characters) => {
      subscription.position.record(message);
      this.#tell(subscription, "record", message, characters);
    },
    subscribed: (subscription, message) => {
      subscription.attempts = 0;
      subscription.position.subscribed(message);
      this.#enter(subscription, "catching-up");
      this.#tell(subscription, "subscribed", message);
    },
    live: (subscription) => {
      this.#enter(subscription, "live");
      this.#tell(subscription, "live");
    },
    position: (subscription, { positions }) => {
      subscription.position.advance(positions);
      this.#tell(subscription, "moved");
    },
    gap: (subscription, message) => {
      subscription.position.gap(message);
      this.#tell(subscription, "gap", message);
    },
    unsubscribed: (subscription, { code, message }) => this.#end(subscription, code, message),
    error: (subscription, { code, message, command }) => {
      if (command === "unsubscribe" && subscription.state !== "ended") {
        return; // about an earlier owner of the id: its end and our unsubscribe crossed
      }
      if (PASSING.has(code) && subscription.state === "pending") {
        this.#askLater(subscription, code, message);
      } else {
        this.#end(subscription, code, message);
      }
    },
  };

  /** Nothing is heard of a subscription that its caller closed, whatever still comes. */
  #tell(subscription, what, ...details) {
    if (subscription.state !== "ended") {
      subscription.listener[what]?.(...details);
    }
  }

  #enter(subscription, state) {
    if (subscription.state !== "ended") {
      subscription.state = state;
    }
  }

  #end(subscription, code, message) {
    const resuming = subscription.state === "pending" && subscription.resuming;
    this.#release(subscription);
    this.#subscriptions.delete(subscription);
    this.#tell(subscription, "ended", code, message, resuming);
    subscription.state = "ended";
  }

  #release(subscription) {
    this.#owners.delete(subscription.id);
    subscription.id = null;
  }

  #askLater(subscription, code, message) {
    this.#release(subscription);
    subscription.state = "new";
    const delay = backoff(subscription.attempts++);
    this.#after(subscription, delay, () => this.#ask(subscription));
    this.#tell(subscription, "waiting", code, message, delay);
  }

  // Keep-alive: a page cannot see WebSocket pings, so a long silence is answered with a `ping` of our own

  #watch() {
    const interval = this.welcome.ping_interval_ms ?? 25_000;
    const quiet = performance.now() - this.#heardAt;
    if (quiet < interval) {
      this.#after("watch", interval - quiet, () => this.#watch());
      return;
    }
    const asked = this.#heardAt;
    this.#send({ type: "ping", id: this.#newId(() => {}) });
    this.#after("watch", PONG_MS, () => {
      if (this.#heardAt === asked) {
        this.#abandon(1006, "no answer");
      } else {
        this.#watch();
      }
    });
  }

  // The end of a connection

  /** Give up on the socket without waiting for its closing handshake, which a dead peer never answers. */
  #abandon(code, reason) {
    const socket = this.#socket;
    if (socket !== null) {
      socket.onmessage = socket.onclose = null;
      socket.close();
      this.#lost(code, reason);
    } else if (this.state === "waiting") {
      this.#change("closed", { code, reason });
    }
  }

  #lost(code, reason) {
    const told = this.#closing;
    if (code === 1006 && told !== null) {
      ({ code, reason } = told); // the gateway said why, only its close frame got lost
    }
    this.#forget();
    if (!reconnects(code)) {
      this.#change("closed", { code, reason });
      return;
    }
    const delay = told?.retry_after_ms ?? backoff(this.#attempts);
    this.#attempts++;
    this.#after("reconnect", delay, () => this.open());
    this.#change("waiting", { code, reason, delay });
  }

  #forget() {
    if (this.#openedAt > 0 && performance.now() - this.#openedAt > SETTLED_MS) {
      this.#attempts = 0;
    }
    this.#openedAt = 0;
    this.#socket = this.#closing = this.welcome = null;
    this.#owners.clear();
    this.#stop("watch");
    for (const subscription of this.#subscriptions) {
      this.#stop(subscription);
      const wasUp = subscription.state === "live" || subscription.state === "catching-up";
      subscription.state = "new";
      subscription.id = null;
      if (wasUp) {
        this.#tell(subscription, "interrupted");
      }
    }
  }

  #change(state, detail) {
    this.state = state;
    this.#listener.changed(state, detail);
  }

  #after(name, ms, action) {
    this.#stop(name);
    this.#timers.set(name, setTimeout(action, ms));
  }

  #stop(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }
}
