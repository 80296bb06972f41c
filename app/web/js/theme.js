// Light, dark, or as the system has it; the choice is kept on this device.

import { byId } from "./dom.js";

const KEY = "sketchseek-theme";
const CHOICES = { system: "as the system", light: "light", dark: "dark" };

function apply(choice) {
  if (choice === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
  const button = byId("theme");
  button.setAttribute("aria-label", `Colours: ${CHOICES[choice]}`);
  button.title = `Colours: ${CHOICES[choice]}`;
  button.dataset.choice = choice;
}

export function startTheme() {
  const kept = localStorage.getItem(KEY);
  apply(kept in CHOICES ? kept : "system");
  byId("theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const order = dark ? ["system", "light", "dark"] : ["system", "dark", "light"];
    const next = order[(order.indexOf(byId("theme").dataset.choice) + 1) % order.length];
    localStorage.setItem(KEY, next);
    apply(next);
  });
}
