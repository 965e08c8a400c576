/** Making elements: the page's only way to markup, so that nothing a producer wrote is ever parsed as HTML. */

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  const { role, label, ...rest } = properties;
  Object.assign(made, rest);
  if (role !== undefined) {
    made.setAttribute("role", role);
  }
  if (label !== undefined) {
    made.setAttribute("aria-label", label);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** Set text only when it differs: screen readers and layout hear about changes alone. */
export function setText(target, text) {
  if (target.textContent !== text) {
    target.textContent = text;
  }
}
