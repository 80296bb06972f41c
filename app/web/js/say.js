// Short words to the user: a toast for all, and the same for screen readers.

import { byId, make } from "./dom.js";

const SECONDS = 4;

export function announce(text) {
  const announcer = byId("announcer");
  if (announcer.textContent !== text) announcer.textContent = text;
}

export function toast(text) {
  const element = make("p", { class: "toast" }, text);
  const box = byId("toasts");
  for (const same of [...box.children].filter((one) => one.textContent === text)) same.remove();
  box.append(element);
  // Shown anew, it lies above whatever dialog is open.
  if (box.matches(":popover-open")) box.hidePopover();
  box.showPopover();
  setTimeout(() => {
    element.remove();
    if (box.childElementCount === 0) box.hidePopover();
  }, SECONDS * 1000);
  announce(text);
}
