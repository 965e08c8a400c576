/**
 * Tailrace's JavaScript client: subscriptions to Kafka topics over one WebSocket to a gateway's /ws. After a close it
 * comes back as the close code says and continues each subscription at its place: no record is lost or repeated.
 *
 * Rules (docs/protocol.md): an id is in use from its command to its last answer. A record counts as had once its
 * callback has returned, or once the loop asks for the next one. Unknown types and fields are ignored.
 * No dependencies; for browsers, workers and Node. What starts with _ is for these classes and the console. No publishing here.
 */
const SUBPROTOCOL = "tailrace.v1.json";
const LAST_ID = 65_535;
const BUFFER = 2 ** 20; // characters of JSON that may wait for a loop: some ten thousand small records
const LONGEST_MS = 2 ** 31 - 1; // setTimeout takes no more
const WELCOME_MS = 15_000; // the gateway itself gives a handshake 10 s
const PONG_MS = 10_000; // from our ping to any message, before the connection counts as dead
const RENEW_MS = 30_000; // before a token expires another one is asked for, or half of what is left, if that is less
const RENEW_LEAST_MS = 10_000; // whatever this clock makes of the gateway's
const SETTLED_MS = 5_000; // a connection that lasted this long was a good one: back-off starts anew
const RECONNECT = new Set([1001, 1006, 1011, 1012, 1013]);
const PASSING = new Set(["kafka_unavailable", "rate_limited", "internal"]); // refusals that time heals
const CALLBACK = { subscribed: "onSubscribed", record: "onRecord", gap: "onGap", position: "onPosition", live: "onLive" };

/** Whether to come back after this close code (protocol, section 6). */
export const reconnects = (code) => (code >= 4000 && code <= 4499) || RECONNECT.has(code);

/** Milliseconds to wait before attempt n (0, 1, ...): doubling from half a second to 20 s, and half of it by chance. */
export function backoff(attempt, random = Math.random) {
  const ceiling = Math.min(20_000, 500 * 2 ** Math.min(attempt, 10));
  return ceiling / 2 + (ceiling / 2) * random();
}

export class TailraceError extends Error {
  constructor(code, message, { retryMs = null, resuming = false, closeCode = null, cause } = {}) {
    super(message, { cause });
    Object.assign(this, { name: "TailraceError", code, retryMs, resuming, closeCode });
  }
}

/** What a client keeps (protocol, section 4.3): the topic's id, and for each partition the offset it wants next. */
class Place {
  topicId = null;
  offsets = {}; // partition (a string, as in the messages) -> next offset

  take({ type, topic_id: topicId, partition, offset, next, positions }) {
    if (typeof topicId === "string" && topicId !== this.topicId) {
      this.offsets = {}; // another topic of the same name: the old offsets mean nothing there
      this.topicId = topicId;
    }
    if (type === "gap") {
      this.offsets[partition] = next; // even when it is lower: the log itself went back
      return;
    }
    for (const [name, wanted] of Object.entries(type === "record" ? { [partition]: offset + 1 } : positions ?? {})) {
      this.offsets[name] = Math.max(wanted, this.offsets[name] ?? wanted);
    }
  }

  /** The `from` that continues here; undefined before the first `subscribed`. */
  get from() {
    if (Object.keys(this.offsets).length === 0) return undefined;
    return { offsets: { ...this.offsets }, ...(this.topicId !== null && { topic_id: this.topicId }) };
  }
}

class Subscription {
  state = "waiting"; // -> pending -> catching-up -> live; waiting again when the connection goes; paused; ended
  #client;
  #options;
  #id = null;
  #had = new Place();
  #read = new Place(); // #had, and what waits for the loop
  #buffer = []; // [message, characters]
  #buffered = 0; // characters
  #looped = false;
  #wake = () => {};
  #error = null;
  #attempts = 0;
  #timer = null;

  constructor(client, topic, options) {
    this.topic = topic;
    this.#client = client;
    this.#options = { ...options, buffer: options.buffer ?? BUFFER };
  }

  /** {partition: next offset} of what was had. */
  get positions() {
    return { ...this.#had.offsets };
  }

  /** The same as a `from`, to be kept beside what the records did; undefined before the first `subscribed`. */
  get place() {
    return this.#had.from;
  }

  /** Count this record as had now: for a loop that is left after it. */
  had(record) {
    this.#had.take(record);
  }

  close() {
    this._end(null);
  }

  async *[Symbol.asyncIterator]() {
    if (this.#options.onRecord || this.#looped) throw new TypeError("records go to onRecord, or to a single loop");
    this.#looped = true;
    try {
      for (;;) {
        while (this.#buffer.length === 0 && this.state !== "ended") await new Promise((wake) => (this.#wake = wake));
        if (this.#buffer.length === 0 && this.#error !== null) throw this.#error;
        if (this.#buffer.length === 0) return;
        const [message, characters] = this.#buffer.shift();
        this.#consumed(characters);
        if (message.type === "record") yield message;
        this.#deliver(message, characters);
      }
    } finally {
      this.close();
    }
  }

  _ask() {
    if (this.state !== "waiting" || this.#client.state !== "open") return;
    const { from, keys, keysEncoding: keys_encoding, slow, intervalMs: interval_ms } = this.#options;
    const fields = { topic: this.topic, from: this.#read.from ?? from, keys, keys_encoding, slow, interval_ms };
    this.#id = this.#client._command("subscribe", this, fields);
    this.#enter("pending");
  }

  _lost() {
    clearTimeout(this.#timer);
    this.#id = null;
    if (this.state !== "paused") this.#enter("waiting");
  }

  _receive(message, characters) {
    const { type } = message;
    if (type === "error" || type === "unsubscribed") return this.#refused(message);
    if (!Object.hasOwn(CALLBACK, type)) return;
    this.#read.take(message);
    if (type === "subscribed") this.#attempts = 0;
    if (type === "subscribed" || type === "live") this.#enter(type === "live" ? "live" : "catching-up");
    if (this.state === "ended") return; // by its own onState
    if (this.#options.onRecord) this.#deliver(message, characters);
    else this.#keep(message, characters);
  }

  /** The end, with an error or (null) as the caller wished. What waits for the loop is still read before an error. */
  _end(error) {
    if (this.state === "ended") return error && Promise.reject(error);
    clearTimeout(this.#timer);
    this.#leave("ended");
    this.#client._forget(this);
    if (error === null) this.#buffer = [];
    this.#error = error;
    this.#wake();
    if (error && this.#options.onError) this.#tell("onError", error);
    else if (error && this.#options.onRecord) Promise.reject(error); // nobody takes it: the runtime reports it
  }

  #tell(callback, ...details) {
    try {
      this.#options[callback]?.(...details);
      return true;
    } catch (cause) {
      this._end(new TailraceError("callback_failed", `${callback} threw ${cause}`, { cause }));
      return false;
    }
  }

  #deliver(message, characters) {
    if (this.#tell(CALLBACK[message.type], message, characters)) this.#had.take(message);
  }

  /** When too much waits for the loop, leave, and come back at #read once half of it is consumed: nothing is lost. */
  #keep(message, characters) {
    this.#buffer.push([message, characters]);
    this.#buffered += characters;
    if (this.#buffered > this.#options.buffer) this.#leave("paused");
    this.#wake();
  }

  #consumed(characters) {
    this.#buffered -= characters;
    if (this.state !== "paused" || this.#buffered > this.#options.buffer / 2) return;
    this.#enter("waiting");
    this._ask();
  }

  #leave(state) {
    if (this.#id !== null) this.#client._unsubscribe(this.#id);
    this.#id = null;
    this.#enter(state);
  }

  #refused({ code = "ended", message = "the gateway ended the subscription" }) {
    const resuming = this.state === "pending" && this.#read.from !== undefined;
    this.#id = null;
    if (!PASSING.has(code)) return this._end(new TailraceError(code, message, { resuming }));
    const retryMs = backoff(this.#attempts++);
    this.#timer = setTimeout(() => this._ask(), retryMs);
    this.#enter("waiting");
    this.#tell("onError", new TailraceError(code, message, { retryMs }));
  }

  #enter(state) {
    if (this.state === state) return;
    this.state = state;
    this.#tell("onState", state);
  }
}

export class Tailrace {
  state = "closed"; // connecting, open, waiting, closed
  welcome = null;
  #options;
  #socket = null;
  #dialling = null; // the latest open(): whoever waited for a token may have been overtaken
  #owners = new Map(); // id in use -> Subscription, or null: nobody listens to it any more
  #subscriptions = new Set();
  #lastId = 0;
  #attempts = 0;
  #reconnect = null;
  #watcher = null;
  #heardAt = 0;
  #openedAt = Infinity;
  #closing = null; // the gateway's `closing`, until the socket closes
  #token = null; // of this connection
  #trusted = false; // the gateway took one
  #renewal = null;

  /** Connects at once. `options`: token, onState, WebSocket (Node 20 has none of its own). */
  constructor(url, options = {}) {
    this.url = String(new URL(url, globalThis.location?.href)).replace(/^http/, "ws");
    this.#options = { WebSocket: globalThis.WebSocket, ...options };
    this.open();
  }

  subscribe(topic, options = {}) {
    const subscription = new Subscription(this, topic, options);
    this.#subscriptions.add(subscription);
    subscription._ask();
    return subscription;
  }

  /** Connect now: instead of waiting on, or after a close for good. */
  open() {
    if (this.state === "connecting" || this.state === "open") return;
    clearTimeout(this.#reconnect);
    this.#change("connecting");
    if (this.state === "connecting") this.#dial((this.#dialling = {}));
  }

  /** Leave for good; every subscription ends. */
  close() {
    for (const subscription of this.#subscriptions) subscription.close();
    if (this.state !== "closed") this.#abandon(1000, "");
  }

  _command(type, owner, fields) {
    do this.#lastId = (this.#lastId % LAST_ID) + 1;
    while (this.#owners.has(this.#lastId));
    this.#owners.set(this.#lastId, owner);
    this.#socket.send(JSON.stringify({ type, id: this.#lastId, ...fields }));
    return this.#lastId;
  }

  _unsubscribe(id) {
    this.#owners.set(id, null); // in use until `unsubscribed`
    this.#socket.send(JSON.stringify({ type: "unsubscribe", id }));
  }

  _forget(subscription) {
    this.#subscriptions.delete(subscription);
  }

  async #dial(turn) {
    try {
      this.#token = await this.#nextToken();
      if (turn !== this.#dialling) return;
      this.#socket = new this.#options.WebSocket(this.url, [SUBPROTOCOL]);
      this.#socket.onmessage = ({ data }) => this.#receive(data);
      this.#socket.onclose = ({ code, reason }) => this.#lost(code, reason);
      this.#socket.onerror = () => {}; // `close` follows, and says more
      this.#after(WELCOME_MS, () => this.#abandon(1006, "no welcome"));
    } catch (error) {
      if (turn === this.#dialling) this.#lost(1006, String(error));
    }
  }

  #receive(data) {
    this.#heardAt = performance.now();
    const message = JSON.parse(data);
    const { id, type } = message;
    if (type === "welcome") this.#welcomed(message);
    else if (type === "closing") this.#closing = message;
    // An error about an unsubscribe is about an earlier owner of the id: its end and our unsubscribe crossed.
    if (!this.#owners.has(id) || (type === "error" && message.command === "unsubscribe")) return;
    const owner = this.#owners.get(id);
    if (["unsubscribed", "error", "pong", "authenticated", "published"].includes(type)) this.#owners.delete(id);
    owner?._receive(message, data.length);
  }

  #welcomed(message) {
    this.welcome = message;
    this.#openedAt = performance.now();
    this.#watch(this.welcome.ping_interval_ms ?? 25_000);
    if (this.#token) this.#authenticate(this.#token); // the gateway judges it before it looks at what comes behind
    this.#change("open", message);
    for (const subscription of this.#subscriptions) subscription._ask();
  }

  async #nextToken() {
    const { token } = this.#options;
    return typeof token === "function" ? await token() : token;
  }

  #authenticate(token) {
    this._command("auth", { _receive: (answer) => this.#judged(answer) }, { token });
  }

  /** A first token that is no good ends it; a later one leaves the one before in force, until 4003 asks for another. */
  #judged({ type, code, message, expires_at: expiresAt }) {
    if (type === "authenticated") {
      this.#trusted = true;
      this.#renewBefore(expiresAt);
    } else if (!this.#trusted && code !== "bad_request") {
      this.#abandon(PASSING.has(code) ? 1006 : 4502, message); // bad_request: this gateway asks for none
    }
  }

  #renewBefore(expiresAt) {
    clearTimeout(this.#renewal);
    if (typeof this.#options.token !== "function" || expiresAt === null) return;
    const left = expiresAt - Date.now();
    const delay = Math.min(Math.max(left / 2, left - RENEW_MS, RENEW_LEAST_MS), LONGEST_MS);
    this.#renewal = setTimeout(() => this.#renew(this.#socket), delay);
  }

  async #renew(socket) {
    const token = await this.#nextToken().catch(() => null);
    if (token && socket === this.#socket) this.#authenticate(token);
  }

  /** A page cannot see WebSocket pings, so a long silence is answered with a `ping` of our own. */
  #watch(silence, left = silence, asked = null) {
    this.#after(left, () => {
      const quiet = performance.now() - this.#heardAt;
      if (this.#heardAt === asked) return this.#abandon(1006, "no answer");
      if (quiet < silence) return this.#watch(silence, silence - quiet);
      this._command("ping", null);
      this.#watch(silence, PONG_MS, this.#heardAt);
    });
  }

  /** Give up on the socket without waiting for its closing handshake, which a dead peer never answers. */
  #abandon(code, reason) {
    if (this.#socket !== null) {
      this.#socket.onmessage = this.#socket.onclose = null;
      this.#socket.close();
    }
    this.#lost(code, reason);
  }

  #lost(code, reason) {
    const told = this.#closing;
    if (code === 1006 && told !== null) ({ code, reason } = told); // the gateway said why, its close frame got lost
    if (performance.now() - this.#openedAt > SETTLED_MS) this.#attempts = 0;
    clearTimeout(this.#reconnect);
    clearTimeout(this.#watcher);
    clearTimeout(this.#renewal);
    this.#trusted = false;
    this.#owners.clear();
    this.#openedAt = Infinity;
    this.#socket = this.#closing = this.welcome = this.#dialling = null;
    const delay = reconnects(code) ? Math.min(told?.retry_after_ms ?? backoff(this.#attempts++), LONGEST_MS) : null;
    if (delay !== null) this.#reconnect = setTimeout(() => this.open(), delay);
    const state = (this.state = delay === null ? "closed" : "waiting");
    for (const subscription of this.#subscriptions) subscription._lost();
    this.#options.onState?.(state, { code, reason, delay });
    if (delay !== null) return;
    const error = new TailraceError("disconnected", `closed with ${code} ${reason}`.trim(), { closeCode: code });
    for (const subscription of this.#subscriptions) subscription._end(error);
  }

  #change(state, detail) {
    this.state = state;
    this.#options.onState?.(state, detail);
  }

  #after(ms, action) {
    clearTimeout(this.#watcher);
    this.#watcher = setTimeout(action, ms);
  }
}
