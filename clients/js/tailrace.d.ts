/** What a gateway sends and takes is told in docs/protocol.md; what this client makes of it in docs/clients.md. */

/** Partition (a string) to the next offset wanted. */
export type Positions = Record<string, number>;

/** A place in a topic, as `Subscription.place` gives it and `from` takes it. */
export interface Place {
  offsets: Positions;
  topic_id?: string | null;
}

export type From = "latest" | "earliest" | "snapshot" | Place | { timestamp: number | string } | { last: number };

/** `[name, value]`, or `[name, base64, "base64"]`; a value may be null. */
export type Header = [name: string, value: string | null] | [name: string, value: string, encoding: "base64"];

export interface TailraceRecord<Value = unknown> {
  type: "record";
  topic: string;
  partition: number;
  offset: number;
  /** Epoch milliseconds. */
  timestamp: number | null;
  key: string | null;
  key_encoding?: "base64";
  value: Value;
  /** Absent: `value` is JSON. */
  encoding?: "text" | "base64";
  tombstone?: true;
  headers?: Header[];
}

export interface Subscribed {
  type: "subscribed";
  topic: string;
  topic_id: string | null;
  compacted: boolean | null;
  positions: Positions;
}

/** The wanted records with `from` <= offset < `to` will not come; `to` null: not known how many. */
export interface Gap {
  type: "gap";
  topic: string;
  partition: number;
  from: number;
  to: number | null;
  next: number;
  reason: "retention" | "slow" | "too_large" | "truncated" | "topic_recreated" | (string & {});
  topic_id?: string;
}

export interface PositionMessage {
  type: "position";
  positions: Positions;
}

export interface Live {
  type: "live";
}

/**
 * waiting: for the connection, or to ask again. pending: asked. paused: the loop is behind, it goes on by itself.
 * ended: by close(), or with an error.
 */
export type SubscriptionState = "waiting" | "pending" | "catching-up" | "live" | "paused" | "ended";

export interface SubscribeOptions<Value = unknown> {
  /** Only until the first `subscribed`; later it continues at its place. Default "latest". */
  from?: From | undefined;
  /** Only these keys; null stands for records without one. Absent: every record. */
  keys?: (string | null)[];
  keysEncoding?: "base64";
  slow?: "wait" | "latest" | "skip" | "close";
  /** Only with `slow: "latest"`. */
  intervalMs?: number;
  /** Characters of JSON that may wait for a loop, 1,048,576 unless given. Above it the subscription is paused. */
  buffer?: number;
  /** Without it records wait for a loop. `characters`: of the message as it was received. */
  onRecord?(record: TailraceRecord<Value>, characters: number): void;
  onGap?(gap: Gap): void;
  /** Again after each reconnect, as is onSubscribed. */
  onLive?(live: Live): void;
  onPosition?(position: PositionMessage): void;
  onSubscribed?(subscribed: Subscribed): void;
  /** With `retryMs` it asks again by itself; without, the subscription has ended. */
  onError?(error: TailraceError): void;
  onState?(state: SubscriptionState): void;
}

/** A loop over it takes the records in order, once; leaving the loop closes the subscription. */
export interface Subscription<Value = unknown> extends AsyncIterable<TailraceRecord<Value>> {
  readonly topic: string;
  readonly state: SubscriptionState;
  /** Of what was had; a copy. */
  readonly positions: Positions;
  /** The same as a `from`, to continue elsewhere; undefined before the first `subscribed`. */
  readonly place: Place | undefined;
  /** Counts a record as had before the loop asks for the next one. */
  had(record: TailraceRecord<Value>): void;
  close(): void;
}

export interface Welcome {
  type: "welcome";
  server: string;
  connection: string;
  protocol: string;
  ping_interval_ms: number | null;
  max_message_bytes: number;
}

/** Why a connection ended; `delay` in ms until the next attempt, null: there is none. */
export interface Loss {
  code: number;
  reason: string;
  delay: number | null;
}

export type TailraceState = "connecting" | "open" | "waiting" | "closed";

export interface TailraceOptions {
  /** Sent as the first command. A function is asked before each connection, and again before its token expires. */
  token?: string | (() => string | undefined | Promise<string | undefined>);
  /** `detail`: the welcome when open, the loss when waiting or closed. */
  onState?(state: TailraceState, detail?: Welcome | Loss): void;
  /** For Node 20, which has none of its own: the one of the package `ws`. */
  WebSocket?: new (url: string, protocols: string[]) => object;
}

export declare class Tailrace {
  /** `url` of a gateway's /ws; relative to the page in a browser. Connects at once. */
  constructor(url: string | URL, options?: TailraceOptions);
  readonly url: string;
  readonly state: TailraceState;
  /** What the gateway said first; null while there is no connection. */
  readonly welcome: Welcome | null;
  subscribe<Value = unknown>(topic: string, options?: SubscribeOptions<Value>): Subscription<Value>;
  /** Connect now: instead of waiting on, or after a close for good. */
  open(): void;
  /** Leave for good; every subscription ends. */
  close(): void;
}

export declare class TailraceError extends Error {
  /** The protocol's, or "disconnected" (closed for good), "callback_failed" (`cause` says by what), "ended". */
  readonly code: string;
  /** Until it asks again by itself; null: it is over. */
  readonly retryMs: number | null;
  /** The gateway would not continue at the place that was kept. */
  readonly resuming: boolean;
  /** With "disconnected". */
  readonly closeCode: number | null;
}

/** Whether to come back after this close code. */
export declare function reconnects(code: number): boolean;

/** Milliseconds to wait before attempt 0, 1, ... */
export declare function backoff(attempt: number, random?: () => number): number;
