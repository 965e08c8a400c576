/** What the end of a connection means (protocol, section 6), told to a person. Pure. */

const WORDS = {
  1000: "The gateway closed the connection.",
  1001: "The gateway is going away.",
  1002: "The gateway found a fault in the WebSocket protocol.",
  1003: "The gateway cannot read this kind of message.",
  1006: "The gateway cannot be reached.",
  1007: "The gateway received text that is not UTF-8.",
  1009: "A message was too big for the gateway.",
  1011: "The gateway had an internal error.",
  1012: "The gateway is restarting.",
  1013: "The gateway is full; it asks to try again later.",
  4000: "The gateway is shutting down.",
  4001: "This page read too slowly.",
  4002: "This page did not answer the gateway's ping.",
  4003: "The token has expired.",
  4004: "Too many commands were sent.",
  4005: "This page accepted no data for too long.",
  4006: "The gateway had an internal error.",
  4007: "Records would have been left out.",
  4500: "The gateway wants credentials, and got none that are valid.",
  4501: "This is not allowed with the credentials used.",
  4502: "The gateway does not accept the token.",
  4503: "The topic was deleted.",
  4504: "Too many faulty commands were sent.",
};

export function inWords(code) {
  return WORDS[code] ?? `The connection ended with code ${code}.`;
}
