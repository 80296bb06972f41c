// Words of a query: a field beside the paper. Words that the service cannot read are said to be left out, and the rest of the
// query goes on.
//
// Event: "change" when the words that count have changed.

import { byId } from "./dom.js";
import { Debounce } from "./query.js";

const AFTER_KEY = 350; // ms of quiet before a search while one types

// Problems with the words alone, in words for whoever looks at this page; the service's own sentence follows where there is none.
const SAID = {
  text_not_installed: "This service cannot read words yet. Whoever runs it can add that: pip install 'sketchseek[text]'",
  text_not_supported: "The network of this gallery cannot read words. A drawing or a photo finds what you want.",
  invalid_text: "",
};
const FOR_GOOD = new Set(["text_not_installed", "text_not_supported"]);

export class Words extends EventTarget {
  #field = byId("words");
  #note = byId("words-note");
  #left = false; // whether the words are left out, as the service cannot read them
  #sets = 0;
  #soon = new Debounce(() => this.dispatchEvent(new Event("change")));

  constructor() {
    super();
    this.#field.addEventListener("input", () => {
      this.#say("");
      this.#left = false;
      this.#soon.in(AFTER_KEY);
    });
    this.#field.addEventListener("change", () => {
      this.#sets += 1; // what is typed from here on is another search to come back from
    });
    this.#field.addEventListener("keydown", (event) => event.key === "Enter" && this.#soon.in(0));
  }

  /** The words that count in the query; "" for none. */
  get text() {
    return this.#left ? "" : this.#field.value.trim();
  }

  set text(text) {
    this.#left = this.#field.disabled;
    this.#field.value = text;
    if (!this.#field.disabled) this.#say("");
  }

  /** A text that changes where another search with words begins. */
  get mark() {
    return `${this.#sets} ${this.text === ""}`;
  }

  /** Whether the words are at fault for a problem. They are then left out, and the page says why. */
  refused(problem) {
    if (!(problem.code in SAID) || !this.text) return false;
    this.#left = true;
    this.#field.disabled = FOR_GOOD.has(problem.code);
    this.#say(SAID[problem.code] || problem.message);
    return true;
  }

  #say(text) {
    this.#note.textContent = text;
    this.#note.hidden = text === "";
  }
}
