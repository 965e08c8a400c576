// A gateway as Node users write it: kafkajs reads the topic, ws sends every record to every client.
//     node server.js BOOTSTRAP TOPIC
// With ?key=K in its request a client gets that key only. Prints one JSON line when it serves.
import { Kafka, logLevel } from "kafkajs";
import { WebSocketServer } from "ws";

const [bootstrap, topic] = process.argv.slice(2);
const everybody = new Set();
const byKey = new Map();
const server = new WebSocketServer({ port: 0, host: "127.0.0.1", backlog: 4096 });

server.on("connection", (client, request) => {
  const key = new URL(request.url, "http://x").searchParams.get("key");
  const group = key === null ? everybody : (byKey.get(key) ?? byKey.set(key, new Set()).get(key));
  group.add(client);
  client.on("close", () => group.delete(client));
  client.on("error", () => client.terminate());
});

function deliver({ message }) {
  for (const client of everybody) if (client.readyState === 1) client.send(message.value, { binary: false });
  if (message.key === null) return;
  for (const client of byKey.get(message.key.toString()) ?? []) client.send(message.value, { binary: false });
}

const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR });
const admin = kafka.admin();
await admin.connect();
const ends = await admin.fetchTopicOffsets(topic);
await admin.disconnect();
const consumer = kafka.consumer({ groupId: `peer-${process.pid}`, maxWaitTimeInMs: 100 });
const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve));
await consumer.connect();
await consumer.subscribe({ topics: [topic], fromBeginning: false });
await consumer.run({ autoCommit: false, eachMessage: async (record) => deliver(record) });
for (const { partition, high } of ends) consumer.seek({ topic, partition, offset: high });
await joined;
console.log(JSON.stringify({ event: "ready", port: server.address().port }));
process.on("SIGTERM", () => process.exit(0));
