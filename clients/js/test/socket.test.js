/**
 * Over real sockets: a log of its own, a gateway that serves it as the protocol allows and goes away in every manner,
 * and a client that must have each offset once.
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import { Gateway } from "./scripted.js";

const PARTITIONS = 3;
const END = 400; // offsets a partition
const SEEDS = [1, 2, 3, 4];
const LATE_MS = 60_000;

/** mulberry32: the same numbers for the same seed. */
function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Serves the log from the offsets asked for, some records at a time; ends connections as chance will have it. */
function unreliable(chance) {
  let endings = 0;
  const leave = (socket) => {
    if (++endings <= 2) return socket.terminate(); // the rest with a wish, or back-off would make it long
    const code = 4000 + Math.floor(chance() * 8);
    socket.say("closing", { code, reason: "test", retry_after_ms: Math.floor(chance() * 5) });
    socket.close(code);
  };
  const serve = (socket, id, next) => {
    if (socket.readyState !== socket.OPEN || !socket.serving.has(id)) return;
    for (let count = Math.floor(chance() * 40); count > 0; count--) {
      const partition = Math.floor(chance() * PARTITIONS);
      if (next[partition] < END) socket.say("record", { id, topic: "t", partition, offset: next[partition]++, value: 0 });
    }
    if (chance() < 0.1 && endings < 40) return leave(socket);
    if (chance() < 0.1) socket.say("position", { id, positions: { ...next } });
    if (next.some((offset) => offset < END)) setImmediate(serve, socket, id, next);
  };
  return (socket, { type, id, from }) => {
    socket.serving ??= new Set();
    if (type === "unsubscribe") {
      socket.serving.delete(id);
      return socket.say("unsubscribed", { id });
    }
    const next = Array.from({ length: PARTITIONS }, (_, partition) => from?.offsets?.[partition] ?? 0);
    socket.serving.add(id);
    socket.say("subscribed", { id, topic: "t", topic_id: "t1", positions: { ...next } });
    serve(socket, id, next);
  };
}

const everything = Array.from({ length: PARTITIONS }, () => Array.from({ length: END }, (_, offset) => offset));

/** Runs `take(client, had)` against such a gateway; when it takes too long, what the client was about is the error. */
async function checked(seed, take) {
  const gateway = await Gateway.start(unreliable(random(seed)));
  const states = [];
  const client = gateway.client({ onState: (state, detail) => states.push([Date.now(), state, detail?.code, detail?.delay]) });
  const had = Array.from({ length: PARTITIONS }, () => []);
  let timer;
  const late = new Promise((_, reject) => {
    const told = () => `${had.map((offsets) => offsets.length)} ${JSON.stringify(states.slice(-20))} at ${Date.now()}`;
    timer = setTimeout(() => reject(new Error(`not complete: ${told()}`)), LATE_MS);
  });
  await Promise.race([take(client, had), late]).finally(() => {
    clearTimeout(timer);
    client.close();
    gateway.stop();
  });
  assert.deepEqual(had, everything);
}

for (const seed of SEEDS) {
  test(`a loop has every offset once, whatever happens (seed ${seed})`, () =>
    checked(seed, async (client, had) => {
      let left = PARTITIONS * END;
      for await (const { partition, offset } of client.subscribe("t", { from: "earliest", buffer: 1_000 * seed })) {
        had[partition].push(offset);
        if (--left === 0) break;
        if (left % 7 === 0) await new Promise(setImmediate);
      }
    }));

  test(`a callback has every offset once, whatever happens (seed ${seed})`, () =>
    checked(seed, async (client, had) => {
      await new Promise((done) => {
        let left = PARTITIONS * END;
        const onRecord = ({ partition, offset }) => {
          had[partition].push(offset);
          if (--left === 0) done();
        };
        client.subscribe("t", { from: "earliest", onRecord });
      });
    }));
}

test("a gateway that is not there is waited for", async () => {
  const gateway = await Gateway.start(() => {});
  gateway.stop();
  let client;
  const loss = await new Promise((resolve) => {
    client = gateway.client({ onState: (state, detail) => state === "waiting" && resolve(detail) });
  });
  client.close();
  assert.equal(loss.code, 1006);
  assert.ok(loss.delay >= 250 && loss.delay <= 500, `${loss.delay}`);
});
