/**
 * Publishing, on a connection of its own: `await publisher.publish({topic, key, value})` gives where the record stands
 * in the log. It rejects when the gateway refuses, and when the connection ends before the answer: then the record may
 * or may not be there, and only a person can say whether to send it again.
 */
export class Publisher {
  #address;
  #socket = null;
  #ids = 0;
  #waiting = new Map();

  constructor(address) {
    this.#address = address;
  }

  async publish(command) {
    const socket = await this.#connected();
    const id = ++this.#ids;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      socket.send(JSON.stringify({ type: "publish", id, ...command }));
    });
  }

  #connected() {
    this.#socket ??= new Promise((resolve, reject) => {
      const socket = new WebSocket(this.#address, ["tailrace.v1.json"]);
      socket.onmessage = ({ data }) => this.#take(JSON.parse(data), () => resolve(socket));
      socket.onclose = ({ code }) => {
        const error = new Error(`the connection has ended (${code})`);
        reject(error);
        for (const { reject } of this.#waiting.values()) reject(error);
        this.#waiting.clear();
        this.#socket = null;
      };
    });
    return this.#socket;
  }

  #take(message, welcomed) {
    if (message.type === "welcome") welcomed();
    const waiting = this.#waiting.get(message.id);
    if (waiting === undefined) return;
    this.#waiting.delete(message.id);
    if (message.type === "published") waiting.resolve(message);
    else waiting.reject(new Error(`${message.code}: ${message.message}`));
  }
}
