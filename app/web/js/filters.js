// Choosing which photos may be found: by tag, day, shape, folder and type of file. What is chosen stays in sight as chips.
//
// Event: "change".

import * as api from "./api.js";
import { byId, count, icon, make } from "./dom.js";
import { Latest } from "./query.js";

const SHOWN = 80; // tags listed at once
const NONE = Object.freeze({ tag: [], taken_from: "", taken_to: "", orientation: "", folder: "", type: [] });
const UP = "/"; // the choice of a folder's parent: no folder has this name

/** Each thing that is chosen: {name, value, label}. */
function chosenOf(values) {
  const one = (name, label) => (values[name] ? [{ name, value: values[name], label: label(values[name]) }] : []);
  return [
    ...values.tag.map((tag) => ({ name: "tag", value: tag, label: tag, said: `the tag ${tag}` })),
    ...one("taken_from", (day) => `from ${day}`),
    ...one("taken_to", (day) => `until ${day}`),
    ...one("orientation", (shape) => shape),
    ...one("folder", (folder) => `in ${folder}`),
    ...values.type.map((type) => ({ name: "type", value: type, label: type.toUpperCase() })),
  ];
}

export class Filters extends EventTarget {
  #values = structuredClone(NONE);
  #counts = { tags: [], orientations: [], types: [], folders: [] };
  #button = byId("filter");
  #panel = byId("filter-panel");
  #search = byId("filter-search");
  #asking = new Latest();

  constructor() {
    super();
    this.#button.addEventListener("click", () => this.#toggle(this.#panel.hidden));
    this.#search.addEventListener("input", () => this.#listTags());
    this.#panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      this.#toggle(false);
      this.#button.focus();
    });
    for (const name of ["taken_from", "taken_to"]) {
      byId(`filter-${name}`).addEventListener("change", ({ target }) => this.#set(name, target.value));
    }
    byId("filter-orientation").addEventListener("change", ({ target }) => this.#set("orientation", target.value));
    byId("filter-folder").addEventListener("change", ({ target }) => {
      const { folder } = this.#values;
      this.#set("folder", target.value === UP ? folder.split("/").slice(0, -1).join("/") : target.value);
    });
  }

  /** What is chosen, under the names of a search's fields; what is not chosen is left out. */
  get values() {
    return Object.fromEntries(Object.entries(this.#values).filter(([, value]) => value.length > 0));
  }

  get isEmpty() {
    return Object.keys(this.values).length === 0;
  }

  /** What is chosen, in words. */
  get labels() {
    return chosenOf(this.#values).map(({ label }) => label);
  }

  /** The gallery's tags with their counts: [{name, photos}]. */
  set tags(tags) {
    this.#counts.tags = tags;
    this.#listTags();
    if (!this.#panel.hidden) this.#ask();
  }

  reset() {
    this.choose({});
    this.dispatchEvent(new Event("change"));
  }

  /** Shows these as chosen, and tells nobody. */
  choose(values) {
    this.#values = { ...structuredClone(NONE), ...values };
    this.#show();
  }

  #set(name, value) {
    this.#values[name] = value;
    const { taken_from: from, taken_to: to } = this.#values;
    if (from && to && from > to) this.#values[name === "taken_from" ? "taken_to" : "taken_from"] = value;
    this.#show();
    if (!this.#panel.hidden) this.#ask();
    this.dispatchEvent(new Event("change"));
  }

  /** Chooses one of several values, or no longer. */
  #flip(name, value) {
    const chosen = this.#values[name];
    if (typeof chosen === "string") return this.#set(name, "");
    return this.#set(name, chosen.includes(value) ? chosen.filter((one) => one !== value) : [...chosen, value]);
  }

  #toggle(open) {
    this.#panel.hidden = !open;
    this.#button.setAttribute("aria-expanded", String(open));
    if (open) this.#ask();
    if (open) this.#search.focus();
  }

  /** Asks how many photos each choice would leave. Without an answer, the panel stays as it is. */
  async #ask() {
    try {
      const counts = await this.#asking.run((signal) => api.facets(this.values, signal));
      if (!counts) return;
      this.#counts = counts;
      this.#show();
    } catch {
      // The next search says what is wrong.
    }
  }

  // What is seen

  #show() {
    const focused = document.activeElement?.closest("#filter-panel") ? document.activeElement.getAttribute("aria-label") : null;
    this.#listTags();
    this.#listTypes();
    this.#listChoices();
    this.#showChosen();
    if (focused) this.#panel.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  }

  #chip(name, { name: value, photos }, label = value) {
    const chip = make("button", { type: "button", class: "chip" }, label, " ", make("small", {}, count(photos)));
    chip.setAttribute("aria-pressed", String(this.#values[name].includes(value)));
    chip.setAttribute("aria-label", `${label} ${count(photos)} photos`);
    chip.addEventListener("click", () => this.#flip(name, value));
    return chip;
  }

  #listTags() {
    const wanted = this.#search.value.trim().toLowerCase();
    const sorted = [...this.#counts.tags].sort((a, b) => b.photos - a.photos || a.name.localeCompare(b.name));
    const tags = sorted.filter(({ name }) => name.toLowerCase().includes(wanted));
    const chips = tags.slice(0, SHOWN).map((tag) => this.#chip("tag", tag));
    if (tags.length > SHOWN) chips.push(make("p", { class: "help" }, `and ${count(tags.length - SHOWN)} more: type to find them`));
    if (tags.length === 0) chips.push(make("p", { class: "help" }, wanted ? "No tag has this in its name." : "No photo has a tag."));
    byId("filter-tags").replaceChildren(...chips);
  }

  #listTypes() {
    byId("filter-types").hidden = this.#counts.types.length < 2 && this.#values.type.length === 0; // no choice
    byId("filter-types").replaceChildren(...this.#counts.types.map((type) => this.#chip("type", type, type.name.toUpperCase())));
  }

  #listChoices() {
    const { orientation, folder } = this.#values;
    const option = (value, text) => make("option", { value }, text);
    const counted = ({ name, photos }) => option(name, `${name} (${count(photos)})`);
    byId("filter-orientation").replaceChildren(option("", "any"), ...this.#counts.orientations.map(counted));
    byId("filter-orientation").value = orientation;
    const here = folder ? [option(UP, folder.includes("/") ? `up to ${folder.split("/").slice(0, -1).join("/")}` : "everywhere"), option(folder, folder)] : [option("", "everywhere")];
    byId("filter-folder").replaceChildren(...here, ...this.#counts.folders.filter(({ name }) => name !== folder).map(counted));
    byId("filter-folder").value = folder;
    for (const name of ["taken_from", "taken_to"]) byId(`filter-${name}`).value = this.#values[name];
  }

  #showChosen() {
    const row = byId("filter-chosen");
    const chosen = chosenOf(this.#values);
    row.hidden = chosen.length === 0;
    row.replaceChildren(
      ...chosen.map(({ name, value, label, said = label }) => {
        const chip = make("button", { type: "button", class: "chip" }, label, icon("close"));
        chip.setAttribute("aria-label", `Without ${said}`);
        chip.addEventListener("click", () => this.#flip(name, value));
        return chip;
      }),
    );
  }
}
