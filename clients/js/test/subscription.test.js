/** What a subscription keeps, tells and asks for, on sockets that do as the test says. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { Sockets, settled } from "./scripted.js";

let sockets;
beforeEach(() => (sockets = new Sockets()));
afterEach(() => sockets.restore());

/** A subscription at 0=10, 1=20 with what it was told, in order. */
async function subscribed(options = {}) {
  const client = await sockets.client();
  const heard = [];
  const hear = (name) => (message) => heard.push([name, message.offset ?? message.next ?? message]);
  const names = ["onRecord", "onGap", "onLive", "onPosition", "onSubscribed", "onError", "onState"];
  const callbacks = Object.fromEntries(names.map((name) => [name, hear(name)]));
  const subscription = client.subscribe("orders", { ...callbacks, ...options });
  const id = sockets.last.subscribed({ 0: 10, 1: 20 });
  return { client, subscription, id, heard, socket: sockets.last };
}

test("a subscribe says what was asked for, and nothing else", async () => {
  const client = await sockets.client();
  client.subscribe("orders", { from: { last: 5 }, keys: ["A", null], slow: "latest", intervalMs: 100, onRecord() {} });
  const wanted = { topic: "orders", from: { last: 5 }, keys: ["A", null], slow: "latest", interval_ms: 100 };
  assert.deepEqual(sockets.last.command(), { type: "subscribe", id: 1, ...wanted });
  client.subscribe("prices");
  assert.deepEqual(sockets.last.command(), { type: "subscribe", id: 2, topic: "prices" });
});

test("nothing is asked before the welcome", async () => {
  const client = await sockets.client();
  const socket = await sockets.reconnected();
  sockets.last.drop(4000);
  client.subscribe("orders");
  await sockets.pass(20_000);
  assert.notEqual(sockets.last, socket);
  assert.deepEqual(sockets.last.commands, []);
  sockets.last.welcome();
  assert.equal(sockets.last.command().type, "subscribe");
});

test("it resumes at the highest of subscribed.positions, last offset + 1 and position", async () => {
  const { subscription, id, socket } = await subscribed();
  socket.record(id, 14);
  socket.say("position", { id, positions: { 0: 12, 1: 31 } });
  socket.record(id, 0, 7); // a partition created since
  assert.deepEqual(subscription.positions, { 0: 15, 1: 31, 7: 1 });
  const { from } = (await sockets.reconnected()).command();
  assert.deepEqual(from, { offsets: { 0: 15, 1: 31, 7: 1 }, topic_id: "t1" });
  assert.deepEqual(subscription.place, from);
});

test("subscribing again never goes back", async () => {
  const { subscription, id, socket } = await subscribed();
  socket.record(id, 14);
  (await sockets.reconnected()).subscribed({ 0: 11, 1: 25 });
  assert.deepEqual(subscription.positions, { 0: 15, 1: 25 });
});

test("a gap's next replaces what was kept, even when it is lower", async () => {
  const { subscription, id, socket, heard } = await subscribed();
  socket.say("gap", { id, partition: 1, from: 5, to: 20, next: 5, reason: "truncated" });
  assert.deepEqual(subscription.positions, { 0: 10, 1: 5 });
  assert.deepEqual(heard.at(-1), ["onGap", 5]);
});

test("another topic of the same name begins a new vector", async () => {
  const { subscription, id, socket } = await subscribed();
  socket.say("gap", { id, partition: 0, from: 10, to: null, next: 3, reason: "topic_recreated", topic_id: "t2" });
  assert.deepEqual(subscription.place, { offsets: { 0: 3 }, topic_id: "t2" });
  (await sockets.reconnected()).subscribed({ 0: 0, 2: 0 }, { topic_id: "t3" });
  assert.deepEqual(subscription.place, { offsets: { 0: 0, 2: 0 }, topic_id: "t3" });
});

test("an id that is not known leaves the one that was", async () => {
  const { subscription } = await subscribed();
  (await sockets.reconnected()).subscribed({ 0: 12 }, { topic_id: null });
  assert.equal(subscription.place.topic_id, "t1");
});

test("a topic without an id is resumed without one", async () => {
  const client = await sockets.client();
  client.subscribe("orders", { onRecord() {} });
  sockets.last.subscribed({ 0: 10 }, { topic_id: null });
  assert.deepEqual((await sockets.reconnected()).command().from, { offsets: { 0: 10 } });
});

test("callbacks and states come in the order of the messages", async () => {
  const { id, socket, heard } = await subscribed();
  socket.say("live", { id });
  socket.record(id, 10);
  socket.drop(4006);
  const told = heard.map(([name, what]) => (name === "onState" ? what : name));
  const expected = ["pending", "catching-up", "onSubscribed", "live", "onLive", "onRecord", "waiting"];
  assert.deepEqual(told, expected);
});

test("a record counts only once its callback has returned", async () => {
  let seen;
  const { subscription, id, socket } = await subscribed({ onRecord: () => (seen = subscription.positions) });
  socket.record(id, 10);
  assert.deepEqual(seen, { 0: 10, 1: 20 });
  assert.deepEqual(subscription.positions, { 0: 11, 1: 20 });
});

test("a callback that throws ends the subscription before the record", async () => {
  const errors = [];
  const onRecord = ({ offset }) => {
    if (offset === 11) throw new RangeError("full");
  };
  const { subscription, id, socket } = await subscribed({ onRecord, onError: (error) => errors.push(error) });
  [10, 11, 12].forEach((offset) => socket.record(id, offset));
  assert.deepEqual(subscription.positions, { 0: 11, 1: 20 });
  assert.equal(subscription.state, "ended");
  assert.deepEqual(socket.command(), { type: "unsubscribe", id });
  assert.deepEqual([errors.length, errors[0].code, errors[0].cause.message], [1, "callback_failed", "full"]);
});

test("an end that nobody takes is an unhandled rejection", async () => {
  const rejected = [];
  const listeners = process.listeners("unhandledRejection");
  process.removeAllListeners("unhandledRejection");
  process.once("unhandledRejection", (error) => rejected.push(error.code));
  const { id, socket } = await subscribed({ onError: undefined });
  socket.say("unsubscribed", { id, code: "topic_deleted", message: "gone" });
  await new Promise(setImmediate);
  listeners.forEach((listener) => process.on("unhandledRejection", listener));
  assert.deepEqual(rejected, ["topic_deleted"]);
});

test("unknown types and fields are ignored, and so are the names every object has", async () => {
  const { id, socket, heard } = await subscribed();
  const before = heard.length;
  for (const type of ["novelty", "toString", "__proto__", "constructor"]) {
    socket.say(type, { id });
    socket.say(type, {});
  }
  assert.equal(heard.length, before);
  socket.record(id, 10, 0, { weather: "fine" });
  assert.deepEqual(heard.at(-1), ["onRecord", 10]);
});

test("a closed subscription hears nothing more, and its id is not used again before unsubscribed", async () => {
  const { client, subscription, id, socket, heard } = await subscribed();
  subscription.close();
  assert.deepEqual(socket.command(), { type: "unsubscribe", id });
  const before = heard.length;
  socket.record(id, 10);
  socket.say("live", { id });
  assert.equal(heard.length, before);
  const taken = new Set();
  for (let count = 0; count < 65_535; count++) {
    client.subscribe("orders");
    const command = socket.command();
    socket.say("error", { id: command.id, command: "subscribe", code: "too_many_subscriptions", message: "" });
    taken.add(command.id);
  }
  assert.deepEqual([taken.size, taken.has(id)], [65_534, false]);
});

test("a subscription may be closed by its own callback", async () => {
  const taken = [];
  const onRecord = ({ offset }) => {
    taken.push(offset);
    subscription.close();
  };
  const { subscription, id, socket } = await subscribed({ onRecord });
  [10, 11].forEach((offset) => socket.record(id, offset));
  assert.deepEqual(taken, [10]);
  assert.deepEqual(subscription.positions, { 0: 11, 1: 20 });
});

test("a subscription may be closed by its own onState", async () => {
  const onState = (state) => state === "live" && subscription.close();
  const { subscription, id, socket, heard } = await subscribed({ onState });
  socket.say("live", { id });
  assert.ok(!heard.some(([name]) => name === "onLive"));
});

test("an id of the last connection means nothing in the next", async () => {
  const { id, heard } = await subscribed();
  const socket = await sockets.reconnected();
  const again = socket.subscribed({ 0: 10, 1: 20 });
  assert.notEqual(again, id);
  const before = heard.length;
  socket.record(id, 10);
  assert.equal(heard.length, before);
});

test("a closed subscription does not come back with the connection", async () => {
  const { subscription } = await subscribed();
  subscription.close();
  assert.deepEqual((await sockets.reconnected()).commands, []);
});

test("an unsubscribe that crossed the end does not hit the id's next owner", async () => {
  const { subscription, id, socket } = await subscribed();
  socket.say("error", { id, command: "unsubscribe", code: "unknown_id", message: "" });
  assert.equal(subscription.state, "catching-up");
});

test("what passes is asked again, later and later", async () => {
  const { subscription, id, socket, heard } = await subscribed();
  socket.say("live", { id });
  socket.say("unsubscribed", { id, code: "internal", message: "ours" });
  assert.equal(subscription.state, "waiting");
  let { retryMs } = heard.at(-1)[1];
  for (const code of ["kafka_unavailable", "rate_limited"]) {
    await sockets.pass(retryMs - 1);
    assert.deepEqual(socket.commands, []);
    await sockets.pass(1);
    const command = socket.command();
    assert.deepEqual(command.from, { offsets: { 0: 10, 1: 20 }, topic_id: "t1" });
    socket.say("error", { id: command.id, command: "subscribe", code, message: "" });
    const [name, error] = heard.at(-1);
    assert.deepEqual([name, error.code], ["onError", code]);
    retryMs = error.retryMs;
  }
  assert.ok(retryMs >= 1_000 && retryMs <= 2_000, `${retryMs}`);
  await sockets.pass(retryMs);
  socket.say("unsubscribed", { id: socket.subscribed({ 0: 10, 1: 20 }), code: "internal", message: "again" });
  assert.ok(heard.at(-1)[1].retryMs <= 500, "once it was served, it begins anew");
});

test("a refusal for good ends it, and says whether it was the kept place that was refused", async () => {
  const { client, subscription, heard } = await subscribed();
  const socket = await sockets.reconnected();
  const refusal = { command: "subscribe", code: "bad_position", message: "no such partition" };
  socket.say("error", { id: socket.command().id, ...refusal });
  const { code, message, resuming, retryMs } = heard.at(-1)[1];
  assert.deepEqual([code, message, resuming, retryMs], ["bad_position", "no such partition", true, null]);
  assert.equal(subscription.state, "ended");
  const errors = [];
  client.subscribe("orders", { from: { offsets: { 9: 1 } }, onError: (error) => errors.push(error) });
  socket.say("error", { id: socket.command().id, ...refusal });
  assert.equal(errors[0].resuming, false);
});

test("an end that comes later is not a place that was refused", async () => {
  const { heard } = await subscribed();
  const socket = await sockets.reconnected();
  socket.say("unsubscribed", { id: socket.subscribed({ 0: 10, 1: 20 }), code: "topic_deleted", message: "gone" });
  assert.deepEqual([heard.at(-1)[1].code, heard.at(-1)[1].resuming], ["topic_deleted", false]);
});

// The loop

/** Subscribed for a loop; `next()` is its next result, or what it threw. */
async function looped(options = {}) {
  const found = await subscribed({ onRecord: undefined, onError: undefined, ...options });
  const loop = found.subscription[Symbol.asyncIterator]();
  return { ...found, loop, next: async () => (await loop.next()).value?.offset };
}

test("a loop takes the records in order, and one counts when the next is asked for", async () => {
  const { subscription, id, socket, next } = await looped();
  [10, 11, 12].forEach((offset) => socket.record(id, offset));
  assert.equal(await next(), 10);
  assert.deepEqual(subscription.positions, { 0: 10, 1: 20 });
  assert.equal(await next(), 11);
  assert.deepEqual(subscription.positions, { 0: 11, 1: 20 });
});

test("a loop waits for what comes", async () => {
  const { id, socket, next } = await looped();
  const waiting = next();
  await settled();
  socket.record(id, 10);
  assert.equal(await waiting, 10);
});

test("what lies between records is told when the loop gets there", async () => {
  const { id, socket, next, heard } = await looped();
  socket.record(id, 10);
  socket.say("gap", { id, partition: 0, from: 11, to: 15, next: 15, reason: "retention" });
  socket.record(id, 15);
  assert.equal(await next(), 10);
  assert.ok(!heard.some(([name]) => name === "onGap"));
  assert.equal(await next(), 15);
  assert.deepEqual(heard.at(-1), ["onGap", 15]);
});

test("a connection lost meanwhile repeats nothing that waits for the loop", async () => {
  const { subscription, id, socket, next } = await looped();
  [10, 11, 12].forEach((offset) => socket.record(id, offset));
  assert.equal(await next(), 10);
  const again = await sockets.reconnected();
  assert.equal(again.commands[0].from.offsets[0], 13);
  const id2 = again.subscribed({ 0: 13, 1: 20 });
  again.record(id2, 13);
  assert.deepEqual([await next(), await next(), await next()], [11, 12, 13]);
  assert.deepEqual(subscription.positions, { 0: 13, 1: 20 });
});

test("a break leaves the record uncounted unless it is said to be had", async () => {
  for (const said of [false, true]) {
    const { subscription, id, socket } = await subscribed({ onRecord: undefined });
    [10, 11].forEach((offset) => socket.record(id, offset));
    for await (const record of subscription) {
      if (said) subscription.had(record);
      break;
    }
    assert.deepEqual(subscription.positions, { 0: said ? 11 : 10, 1: 20 });
    assert.deepEqual([subscription.state, socket.command().type], ["ended", "unsubscribe"]);
  }
});

test("close() ends the loop at once", async () => {
  const { subscription, id, socket, loop } = await looped();
  [10, 11].forEach((offset) => socket.record(id, offset));
  await loop.next();
  subscription.close();
  assert.deepEqual(await loop.next(), { value: undefined, done: true });
});

test("close() wakes a loop that waits", async () => {
  const { subscription, loop } = await looped();
  const waiting = loop.next();
  await settled();
  subscription.close();
  assert.equal((await waiting).done, true);
});

test("an end by the gateway is thrown after what came before it", async () => {
  const { subscription, id, socket, next } = await looped();
  socket.record(id, 10);
  socket.say("unsubscribed", { id, code: "topic_deleted", message: "it is gone" });
  assert.equal(await next(), 10);
  await assert.rejects(next(), { name: "TailraceError", code: "topic_deleted", message: "it is gone" });
  assert.deepEqual(subscription.positions, { 0: 11, 1: 20 });
});

test("there is one taker", async () => {
  const { subscription } = await looped();
  const { subscription: called } = await subscribed();
  await assert.rejects(called[Symbol.asyncIterator]().next(), TypeError);
  void subscription[Symbol.asyncIterator]().next();
  await assert.rejects(subscription[Symbol.asyncIterator]().next(), TypeError);
});

test("a loop that is slow pauses the subscription, and loses nothing by it", async () => {
  const { subscription, id, socket, next, heard } = await looped({ buffer: 1_000 });
  let offset = 10;
  while (subscription.state !== "paused") {
    socket.record(id, offset++);
    assert.ok(offset < 30, "it has to stop");
  }
  assert.deepEqual(socket.command(), { type: "unsubscribe", id });
  socket.record(id, offset); // was under way
  const kept = offset;
  let taken = 10;
  while (subscription.state === "paused") {
    assert.equal(await next(), taken++);
  }
  assert.ok(taken > 12 && taken < kept, `half of it was taken: ${taken} of ${kept}`);
  const { id: again, from } = socket.commands[0];
  assert.notEqual(again, id);
  assert.equal(from.offsets[0], kept);
  socket.subscribed({ 0: kept, 1: 20 });
  socket.record(again, kept);
  while (taken <= kept) {
    assert.equal(await next(), taken++);
  }
  assert.ok(heard.some(([name, state]) => name === "onState" && state === "paused"));
});

test("a subscription that is paused when the connection goes comes back when the loop has caught up", async () => {
  const { subscription, id, socket, next } = await looped({ buffer: 300 });
  for (let offset = 10; subscription.state !== "paused"; offset++) {
    socket.record(id, offset);
  }
  const again = await sockets.reconnected();
  assert.deepEqual(again.commands, []);
  while (subscription.state === "paused") {
    await next();
  }
  assert.equal(again.command().type, "subscribe");
});
