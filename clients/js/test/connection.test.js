/** When the client comes back, when it stays away, and how it finds out that nobody is there. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Tailrace, backoff, reconnects } from "../tailrace.js";
import { Sockets, settled } from "./scripted.js";

let sockets;
let states;
beforeEach(() => {
  sockets = new Sockets();
  states = [];
});
afterEach(() => sockets.restore());

const connected = (options) => sockets.client({ onState: (state, detail) => states.push([state, detail]), ...options });

const BACK = [1001, 1006, 1011, 1012, 1013, 4000, 4001, 4007, 4499];
const AWAY = [1000, 1002, 1003, 1005, 1007, 1009, 3999, 4500, 4504, 4999];

test("close codes say whether to come back", () => {
  assert.deepEqual(BACK.filter(reconnects), BACK);
  assert.deepEqual(AWAY.filter(reconnects), []);
});

test("back-off doubles up to 20 s, and half of it is by chance", () => {
  const never = () => 0;
  const fully = () => 1;
  assert.deepEqual([0, 1, 2, 5, 6, 1_000].map((attempt) => backoff(attempt, fully)), [500, 1_000, 2_000, 16_000, 20_000, 20_000]);
  assert.deepEqual([0, 1, 1_000].map((attempt) => backoff(attempt, never)), [250, 500, 10_000]);
});

for (const code of BACK) {
  test(`after ${code} it comes back`, async () => {
    const client = await connected();
    sockets.last.drop(code, "why");
    const [state, { code: told, reason, delay }] = states.at(-1);
    assert.deepEqual([state, told, reason], ["waiting", code, "why"]);
    await sockets.pass(delay - 1);
    assert.equal(client.state, "waiting");
    await sockets.pass(1);
    assert.equal(sockets.list.length, 2);
    sockets.last.welcome();
    assert.equal(client.state, "open");
  });
}

for (const code of AWAY) {
  test(`after ${code} it stays away, and its subscriptions end`, async () => {
    const client = await connected();
    const errors = [];
    const subscription = client.subscribe("orders", { onError: (error) => errors.push(error) });
    sockets.last.drop(code, "why");
    assert.deepEqual(states.at(-1), ["closed", { code, reason: "why", delay: null }]);
    assert.deepEqual([subscription.state, errors[0].code, errors[0].closeCode], ["ended", "disconnected", code]);
    await sockets.pass(100_000);
    assert.equal(sockets.list.length, 1);
    client.open();
    await settled();
    sockets.last.welcome();
    assert.deepEqual([client.state, sockets.last.commands], ["open", []]);
  });
}

test("a loop is told of an end for good", async () => {
  const client = await connected();
  const next = client.subscribe("orders")[Symbol.asyncIterator]().next();
  sockets.last.drop(4501, "forbidden");
  await assert.rejects(next, { code: "disconnected", closeCode: 4501, message: "closed with 4501 forbidden" });
});

test("the gateway's retry_after_ms is obeyed, whatever timers can take", async () => {
  const client = await connected();
  sockets.last.say("closing", { code: 4000, reason: "shutdown", retry_after_ms: 12_345 });
  assert.equal(client.state, "open"); // until it is closed
  sockets.last.drop(4000, "shutdown");
  await sockets.pass(12_344);
  assert.equal(sockets.list.length, 1);
  await sockets.pass(1);
  sockets.last.welcome();
  sockets.last.say("closing", { code: 4000, reason: "shutdown", retry_after_ms: 1e12 });
  sockets.last.drop(4000);
  assert.equal(states.at(-1)[1].delay, 2 ** 31 - 1);
  client.open(); // a person does not wait
  await settled();
  assert.equal(sockets.list.length, 3);
});

test("without a wish of the gateway it is the client's own back-off", async () => {
  await connected();
  sockets.last.say("closing", { code: 4001, reason: "slow", retry_after_ms: null });
  sockets.last.drop(4001);
  const { delay } = states.at(-1)[1];
  assert.ok(delay >= 250 && delay <= 500, `${delay}`);
});

test("when only the close frame got lost, closing says what it was", async () => {
  await connected();
  sockets.last.say("closing", { code: 4500, reason: "unauthenticated", retry_after_ms: null });
  sockets.last.drop(1006);
  assert.deepEqual(states.at(-1), ["closed", { code: 4500, reason: "unauthenticated", delay: null }]);
});

test("a wish of the last connection is not obeyed in the next", async () => {
  await connected();
  sockets.last.say("closing", { code: 4000, reason: "shutdown", retry_after_ms: 60_000 });
  sockets.last.drop(4000);
  await sockets.pass(60_000);
  sockets.last.drop(1006);
  assert.ok(states.at(-1)[1].delay <= 1_000);
});

test("attempts that fail come later and later; a connection that lasted starts anew", async () => {
  await connected();
  const delays = [];
  for (let attempt = 0; attempt < 8; attempt++) {
    sockets.last.drop(1006);
    delays.push(states.at(-1)[1].delay);
    await sockets.pass(20_000);
    sockets.last.welcome(); // and gone again at once
  }
  delays.forEach((delay, n) => assert.ok(delay >= backoff(n, () => 0) && delay <= backoff(n, () => 1), `${delays}`));
  await sockets.pass(5_001);
  sockets.last.drop(1006);
  assert.ok(states.at(-1)[1].delay <= 500);
});

test("a gateway that accepts and says nothing is given up", async () => {
  await connected();
  sockets.last.drop(1006);
  await sockets.pass(500);
  const silent = sockets.last;
  await sockets.pass(14_999);
  assert.equal(silent.closed, false);
  await sockets.pass(1);
  assert.equal(silent.closed, true);
  assert.deepEqual([states.at(-1)[0], states.at(-1)[1].reason], ["waiting", "no welcome"]);
});

test("a long silence is answered with a ping, and a longer one with leaving", async () => {
  const client = await connected();
  const socket = sockets.last;
  await sockets.pass(24_999);
  assert.deepEqual(socket.commands, []);
  await sockets.pass(1);
  const { type, id } = socket.command();
  assert.equal(type, "ping");
  await sockets.pass(5_000);
  socket.say("pong", { id });
  await sockets.pass(5_000);
  assert.equal(client.state, "open");
  await sockets.pass(20_000);
  assert.equal(socket.command().type, "ping");
  await sockets.pass(10_000);
  assert.deepEqual([socket.closed, states.at(-1)[1].reason], [true, "no answer"]);
  assert.equal(client.state, "waiting");
});

test("whatever is heard counts as alive", async () => {
  const client = await connected();
  for (let turn = 0; turn < 10; turn++) {
    await sockets.pass(20_000);
    sockets.last.say("novelty");
  }
  assert.equal(client.state, "open");
  assert.deepEqual(sockets.last.commands, []);
});

test("a gateway that sends no pings is asked every 25 s", async () => {
  await connected();
  const socket = await sockets.reconnected();
  socket.welcome({ ping_interval_ms: null });
  await sockets.pass(25_000);
  assert.equal(socket.command().type, "ping");
});

/** Takes the next command, which must bring this token; its id. */
function brought(token) {
  const { type, id, token: told } = sockets.last.command();
  assert.deepEqual([type, told], ["auth", token]);
  return id;
}

/** `left`: milliseconds until it expires, null: it does not. */
function taken(token, left = null) {
  const id = brought(token);
  sockets.last.say("authenticated", { id, subject: "me", expires_at: left === null ? null : Date.now() + left });
}

test("a token is asked for before each connection, and is the first that is said", async () => {
  let count = 0;
  const client = await connected({ token: async () => `t${++count}` });
  assert.deepEqual(sockets.last.protocols, ["tailrace.v1.json"]);
  client.subscribe("orders");
  taken("t1");
  assert.equal(sockets.last.subscribed({ 0: 5 }), 2);
  await sockets.reconnected(4003);
  taken("t2");
  assert.deepEqual(sockets.last.command().from, { offsets: { 0: 5 }, topic_id: "t1" });
});

test("a token may be a string", async () => {
  await connected({ token: "t" });
  taken("t", 12_000);
  await sockets.pass(15_000);
  assert.deepEqual(sockets.last.commands, []); // there is none to renew it with
  await sockets.reconnected(4003);
  brought("t");
});

test("without a token none is sent", async () => {
  for (const token of [undefined, () => undefined, ""]) {
    await connected({ token });
    assert.deepEqual(sockets.last.commands, []);
  }
});

test("a token is renewed before it expires, without a break", async () => {
  mock.method(Date, "now", () => sockets.now);
  let count = 0;
  await connected({ token: () => `t${++count}` });
  taken("t1", 100_000);
  for (let turn = 0; turn < 3; turn++) {
    await sockets.pass(20_000);
    sockets.last.say("news", {});
  }
  await sockets.pass(9_999);
  assert.deepEqual(sockets.last.commands, []);
  await sockets.pass(1);
  taken("t2", 20_000); // of which half is left for the next
  await sockets.pass(10_000);
  taken("t3");
  assert.equal(sockets.list.length, 1);
});

test("a first token that is not good ends it for good; one that cannot be judged does not", async () => {
  for (const [code, state] of [["unauthenticated", "closed"], ["forbidden", "closed"], ["internal", "waiting"]]) {
    const client = await connected({ token: "t" });
    sockets.last.say("error", { id: brought("t"), command: "auth", code, message: "why" });
    assert.equal(client.state, state);
    assert.equal(sockets.last.closed, true);
    client.close();
  }
});

test("a gateway that asks for no tokens is told one in vain", async () => {
  const client = await connected({ token: "t" });
  sockets.last.say("error", { id: brought("t"), command: "auth", code: "bad_request", message: "none" });
  assert.equal(client.state, "open");
});

test("a later token that is not good leaves the first in force", async () => {
  const tokens = ["t1", "t2"];
  const client = await connected({ token: () => tokens.shift() });
  taken("t1", 20_000);
  await sockets.pass(10_500);
  sockets.last.say("error", { id: brought("t2"), command: "auth", code: "unauthenticated", message: "no" });
  assert.equal(client.state, "open");
});

test("a token that cannot be had is asked for again", async () => {
  const answers = [() => "t1", () => { throw new Error("offline"); }, async () => { throw new Error("offline"); }, () => undefined];
  await connected({ token: () => answers.shift()() });
  sockets.last.drop(4003);
  for (let turn = 0; turn < 2; turn++) {
    await sockets.pass(states.at(-1)[1].delay);
    assert.deepEqual([states.at(-1)[0], states.at(-1)[1].reason], ["waiting", "Error: offline"]);
  }
  await sockets.pass(states.at(-1)[1].delay);
  assert.deepEqual(sockets.last.commands, []);
});

test("close() ends everything, while connected, waiting or dialling", async () => {
  for (const moment of ["open", "waiting", "connecting"]) {
    const client = await connected();
    const count = sockets.list.length;
    const done = client.subscribe("orders")[Symbol.asyncIterator]().next();
    await settled();
    const socket = sockets.last;
    if (moment !== "open") socket.drop(1006);
    if (moment === "connecting") client.open();
    assert.equal(client.state, moment);
    client.close();
    assert.deepEqual(await done, { value: undefined, done: true });
    assert.deepEqual([client.state, states.at(-1)[0], states.at(-1)[1].code], ["closed", "closed", 1000]);
    assert.equal(socket.closed, moment === "open");
    await sockets.pass(100_000);
    assert.equal(sockets.list.length, count);
  }
});

for (const moment of ["connecting", "open", "waiting"]) {
  test(`a listener that closes at ${moment} is obeyed`, async () => {
    let armed = false;
    const client = await sockets.client({ onState: (state) => armed && state === moment && client.close() });
    const subscription = client.subscribe("orders");
    armed = true;
    sockets.last.drop(4000);
    await sockets.pass(20_000);
    if (moment === "open") sockets.last.welcome();
    await sockets.pass(20_000);
    assert.deepEqual([client.state, subscription.state], ["closed", "ended"]);
    assert.equal(sockets.list.length, moment === "open" ? 2 : 1);
  });
}

test("the address may be http, and must be one", async () => {
  class WebSocket {}
  assert.equal(new Tailrace("http://gateway:8080/ws", { WebSocket }).url, "ws://gateway:8080/ws");
  assert.equal(new Tailrace(new URL("https://gateway/ws"), { WebSocket }).url, "wss://gateway/ws");
  assert.throws(() => new Tailrace("/ws", { WebSocket }), TypeError); // relative only to a page
});
