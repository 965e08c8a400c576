/**
 * The line below the records that publishes one: shown where publishing may be allowed. JSON goes to Kafka
 * byte for byte as it was typed, so it is checked here and sent as text. What became of it is said beside the button.
 */
import { setText } from "./element.js";

const byId = (id) => document.getElementById(id);

const REFUSALS = {
  forbidden: "Publishing this is not allowed here.",
  unauthenticated: "The gateway wants credentials first.",
  unknown_topic: "There is no such topic, or it is not exposed.",
  publish_failed: "It was not published.",
  publish_timeout: "No answer from Kafka: it may have been published, or not.",
  kafka_unavailable: "It was not published: the gateway cannot reach Kafka.",
  too_large: "It is too large.",
  disconnected: "It was not published: there is no connection.",
  lost: "The connection ended before the answer: it may have been published, or not.",
};

export class PublishLine {
  #offer;
  #send;
  #topic = null;
  #sent = 0;

  /** `offer`: {topics, publish, unlisted}, as the page was served; `publish(fields, answered)`: does it. */
  constructor(offer, publish) {
    this.#offer = offer;
    this.#send = publish;
    const value = byId("publish-value");
    value.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        byId("publish").requestSubmit();
      }
    });
    byId("publish-kind").addEventListener("change", () => this.#showKind());
    byId("publish").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#publish();
    });
  }

  show(topic) {
    if (topic !== this.#topic) {
      this.#topic = topic;
      this.#say("", "");
    }
    const { topics, publish, unlisted } = this.#offer;
    byId("publish").hidden = !(publish.includes(topic) || (unlisted && !topics.includes(topic)));
  }

  #showKind() {
    const none = byId("publish-kind").value === "tombstone";
    byId("publish-value").disabled = none;
    byId("publish-value").required = byId("publish-kind").value === "json";
    byId("publish-key").required = none;
  }

  #publish() {
    const [kind, key, value] = ["publish-kind", "publish-key", "publish-value"].map((id) => byId(id).value);
    const fault = kind === "json" ? faultOf(value) : null;
    if (fault !== null) {
      this.#say(fault, "bad");
      return;
    }
    const content = kind === "tombstone" ? { encoding: "tombstone" } : { encoding: "text", value };
    const topic = this.#topic;
    const number = ++this.#sent;
    this.#say("Publishing", "");
    this.#send({ topic, ...(key !== "" && { key }), ...content }, (answer) => {
      if (number === this.#sent && topic === this.#topic) {
        this.#answered(answer);
      }
    });
  }

  #answered({ type, code, message, partition, offset }) {
    if (type === "published") {
      this.#say(`Published at ${partition}:${offset}`, "good");
      byId("publish-value").value = "";
      return;
    }
    const words = REFUSALS[code] ?? `Refused (${code}).`;
    this.#say(message ? `${words} ${message}` : words, "bad");
  }

  #say(words, tone) {
    byId("published").className = tone;
    byId("published").title = words;
    setText(byId("published"), words);
  }
}

function faultOf(value) {
  try {
    JSON.parse(value);
    return null;
  } catch {
    return "This is not JSON. Choose text to send it as it is.";
  }
}
