// The sheet of keys behind "?", and the keys that belong to no other part.

import { byId } from "./dom.js";
import { typing } from "./tools.js";

export function startKeys() {
  const dialog = byId("keys");
  byId("open-keys").addEventListener("click", () => dialog.showModal());
  byId("keys-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.addEventListener("keydown", (event) => {
    if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "?") dialog.showModal();
    else if (event.key === "/") byId("words").focus();
    else return;
    event.preventDefault();
  });
}
