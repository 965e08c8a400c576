/**
 * Gateways that do as a test says. `Sockets` stands for the WebSocket constructor and for the clock: everything happens
 * at once and in order. `Gateway` is a real server of the `ws` package, for what only a real socket does.
 */
import { once } from "node:events";
import { mock } from "node:test";
import { WebSocket, WebSocketServer } from "ws";

import { Tailrace } from "../tailrace.js";

export class Sockets {
  list = [];
  now = 1_000;

  /** With mocked timers, until `restore()`. */
  constructor() {
    mock.timers.enable({ apis: ["setTimeout"] });
    mock.method(performance, "now", () => this.now);
  }

  restore() {
    mock.timers.reset();
    mock.restoreAll();
  }

  get last() {
    return this.list.at(-1);
  }

  /** Lets so much time pass, and whoever waited go on. */
  async pass(ms) {
    this.now += ms;
    mock.timers.tick(ms);
    await settled();
  }

  /** A client that is connected and welcomed. */
  async client(options = {}) {
    const { list } = this;
    class Socket extends ScriptedSocket {
      constructor(...details) {
        super(...details);
        list.push(this);
      }
    }
    const client = new Tailrace("ws://gateway/ws", { WebSocket: Socket, ...options });
    await settled();
    this.last.welcome();
    return client;
  }

  /** The connection is gone; the next one, welcomed. */
  async reconnected(code = 4000) {
    this.last.drop(code);
    await this.pass(20_000);
    this.last.welcome();
    return this.last;
  }
}

export async function settled() {
  for (let turn = 0; turn < 10; turn++) {
    await null;
  }
}

class ScriptedSocket {
  commands = []; // not yet taken by `command`
  closed = false;

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
  }

  send(text) {
    this.commands.push(JSON.parse(text));
  }

  close() {
    this.closed = true;
  }

  say(type, fields) {
    this.onmessage?.({ data: JSON.stringify({ type, ...fields }) });
  }

  welcome(fields) {
    this.say("welcome", { server: "tailrace/test", ping_interval_ms: 25_000, ...fields });
  }

  drop(code, reason = "") {
    this.onclose({ code, reason });
  }

  /** The client's next command. */
  command() {
    return this.commands.shift();
  }

  /** Answers the next command, which must be a subscribe; its id. */
  subscribed(positions, fields) {
    const { id, topic } = this.command();
    this.say("subscribed", { id, topic, topic_id: "t1", compacted: false, positions, ...fields });
    return id;
  }

  record(id, offset, partition = 0, fields = {}) {
    this.say("record", { id, topic: "orders", partition, offset, timestamp: null, key: "k", value: offset, ...fields });
  }
}

export class Gateway {
  #server;
  #url;
  #behaviour;

  /** `behaviour(socket, command)` for each command; `socket.say(type, fields)` answers. */
  static async start(behaviour) {
    const gateway = new Gateway();
    gateway.#behaviour = behaviour;
    gateway.#server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    gateway.#server.on("connection", (socket) => gateway.#talk(socket));
    await once(gateway.#server, "listening");
    gateway.#url = `ws://127.0.0.1:${gateway.#server.address().port}/ws`;
    return gateway;
  }

  client(options) {
    return new Tailrace(this.#url, { WebSocket, ...options });
  }

  stop() {
    this.#server.clients.forEach((socket) => socket.terminate());
    this.#server.close();
  }

  #talk(socket) {
    socket.say = (type, fields) => socket.send(JSON.stringify({ type, ...fields }));
    socket.on("message", (data) => this.#behaviour(socket, JSON.parse(data)));
    socket.say("welcome", { server: "tailrace/test", ping_interval_ms: 25_000 });
  }
}
