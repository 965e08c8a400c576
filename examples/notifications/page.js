/** Whoever is signed in gets the records with his own key, and nobody else's: the gateway's rule says so, not this page. */

import { Tailrace } from "../../clients/js/tailrace.js";
import { address, element, showFault, showState, time } from "../gateway.js";

const list = document.querySelector("#notifications");
let client = null;

document.querySelector("#enter").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(document.querySelector("#token").value.trim());
});

function signIn(token) {
  client?.close();
  list.replaceChildren();
  document.querySelector("#fault").textContent = "";
  // A real page asks its own server for the token here, each time anew: they expire.
  client = new Tailrace(address, { token: () => token, onState: showState });
  document.querySelector("#subject").textContent = claims(token).sub ?? "nobody";
  // No keys are asked for: the rule adds them.
  client.subscribe("notifications", { from: { last: 50 }, onRecord: show, onError: showFault });
}

function show({ timestamp, key, value }) {
  const line = element("li");
  line.append(element("b", `To ${key}: `), `${value.text} `, element("span", time(timestamp), "soft"));
  list.prepend(line);
}

/** For showing only; the gateway is who checks the signature. */
function claims(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return {};
  }
}
