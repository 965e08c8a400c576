/** What all examples need: the gateway's address, a line that says how the connection is, and elements. */

export const address = new URLSearchParams(location.search).get("gateway") ?? "ws://127.0.0.1:8080/ws";

/** For `onState` of the client. */
export function showState(state, detail) {
  const line = document.querySelector("#state");
  line.className = state;
  line.textContent =
    state === "waiting" ? `connecting again in ${Math.ceil(detail.delay / 1000)} s` : state === "closed" ? `closed: ${detail.reason || detail.code}` : state;
}

export function showFault(error) {
  if (error !== null) document.querySelector("#fault").textContent = `${error.code}: ${error.message}`;
}

/** An element with text in it: nothing that came from a topic is ever read as markup. */
export function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

export const money = (amount) => amount.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
export const time = (epoch) => new Date(epoch).toLocaleTimeString("en-GB");
