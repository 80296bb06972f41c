// Choosing tags: a panel with a search field, and the chosen ones as chips that stay in sight.

import { byId, count, icon, make } from "./dom.js";

const SHOWN = 80;

export class Filters extends EventTarget {
  #all = new Map();
  #chosen = [];
  #button = byId("filter");
  #panel = byId("filter-panel");
  #search = byId("filter-search");

  constructor() {
    super();
    this.#button.addEventListener("click", () => this.#toggle(this.#panel.hidden));
    this.#search.addEventListener("input", () => this.#list());
    this.#panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      this.#toggle(false);
      this.#button.focus();
    });
  }

  get chosen() {
    return [...this.#chosen];
  }

  /** The gallery's tags with their counts: [{name, photos}]. */
  set tags(tags) {
    const known = tags.map(({ name, photos }) => [name, photos]);
    this.#all = new Map(known.sort(([a, m], [b, n]) => n - m || a.localeCompare(b)));
    this.#button.hidden = this.#all.size === 0;
    this.#list();
  }

  /** Whether the filter makes no sense for what is shown now. */
  set hidden(hidden) {
    this.#button.hidden = hidden || this.#all.size === 0;
    if (hidden) this.#toggle(false, false);
  }

  reset() {
    this.choose([]);
    this.#tell();
  }

  /** Shows these as chosen, and tells nobody. */
  choose(tags) {
    this.#chosen = [...tags];
    this.#list();
    this.#showChosen();
  }

  #toggle(open, focus = true) {
    this.#panel.hidden = !open;
    this.#button.setAttribute("aria-expanded", String(open));
    if (open && focus) this.#search.focus();
  }

  #list() {
    const wanted = this.#search.value.trim().toLowerCase();
    const tags = [...this.#all].filter(([tag]) => tag.toLowerCase().includes(wanted));
    const chips = tags.slice(0, SHOWN).map(([tag, photos]) => {
      const pressed = this.#chosen.includes(tag);
      const chip = make("button", { type: "button", class: "chip" }, tag, " ", make("small", {}, count(photos)));
      chip.setAttribute("aria-pressed", String(pressed));
      chip.setAttribute("aria-label", `${tag} ${count(photos)} photos`);
      chip.addEventListener("click", () => this.#flip(tag));
      return chip;
    });
    if (tags.length > SHOWN) chips.push(make("p", { class: "help" }, `and ${count(tags.length - SHOWN)} more: type to find them`));
    if (tags.length === 0) chips.push(make("p", { class: "help" }, "No tag has this in its name."));
    byId("filter-tags").replaceChildren(...chips);
  }

  #flip(tag) {
    const at = this.#chosen.indexOf(tag);
    if (at < 0) this.#chosen.push(tag);
    else this.#chosen.splice(at, 1);
    this.#tell();
  }

  #tell() {
    const focused = document.activeElement?.closest("#filter-tags") ? document.activeElement.getAttribute("aria-label") : null;
    this.#list();
    if (focused) byId("filter-tags").querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
    this.#showChosen();
    this.dispatchEvent(new Event("change"));
  }

  #showChosen() {
    const row = byId("filter-chosen");
    row.hidden = this.#chosen.length === 0;
    row.replaceChildren(
      ...this.#chosen.map((tag) => {
        const chip = make("button", { type: "button", class: "chip" }, tag, icon("close"));
        chip.setAttribute("aria-label", `Without the tag ${tag}`);
        chip.addEventListener("click", () => this.#flip(tag));
        return chip;
      }),
    );
  }
}
