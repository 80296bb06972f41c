// Short words to the user: a toast for all, and the same for screen readers.

import { byId, make } from "./dom.js";

const SECONDS = 4;

export function announce(text) {
  const announcer = byId("announcer");
  if (announcer.textContent !== text) announcer.textContent = text;
}

export function toast(text) {
  const element = make("p", { class: "toast" }, text);
  byId("toasts").append(element);
  setTimeout(() => element.remove(), SECONDS * 1000);
  announce(text);
}
