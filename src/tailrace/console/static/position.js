/**
 * What a client keeps of a subscription (protocol, section 4.3): the topic's id, and for each partition the offset it
 * wants next. Pure: fed with the gateway's messages, it is all that is needed to resume without loss or repeat.
 */
export class Position {
  topicId = null;
  offsets = new Map(); // partition (a string, as in the messages) -> next offset

  /** Whether there is a place to resume from: a first `subscribed` has come. */
  get known() {
    return this.offsets.size > 0;
  }

  subscribed({ topic_id: topicId = null, positions }) {
    if (this.topicId !== null && topicId !== null && topicId !== this.topicId) {
      this.offsets.clear(); // another topic of the same name: the old offsets mean nothing there
    }
    this.topicId = topicId ?? this.topicId;
    this.advance(positions);
  }

  /** From `subscribed.positions` and `position`: never backwards. */
  advance(positions) {
    for (const [partition, next] of Object.entries(positions)) {
      this.#raise(partition, next);
    }
  }

  record({ partition, offset }) {
    this.#raise(String(partition), offset + 1);
  }

  /** A gap's `next` replaces what was kept, even when it is lower: the log itself went back. */
  gap({ partition, next, topic_id: topicId }) {
    this.offsets.set(String(partition), next);
    this.topicId = topicId ?? this.topicId;
  }

  /** The `from` of a subscribe that continues here. */
  toFrom() {
    const from = { offsets: Object.fromEntries(this.offsets) };
    if (this.topicId !== null) {
      from.topic_id = this.topicId;
    }
    return from;
  }

  #raise(partition, next) {
    const kept = this.offsets.get(partition);
    if (kept === undefined || next > kept) {
      this.offsets.set(partition, next);
    }
  }
}
