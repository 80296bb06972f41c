// The query in the page's address, after the "#", so that Back, Forward, reload and a sent link bring it back. The part after
// "#" never reaches the server or its logs.
//
// The query is made of parts, each with its own names in the address. A part is
//   names           what its values are called
//   write()         its values now: {name: text or [text]}; empty ones are left out
//   read(values)    takes the values of an address: {name: [text]}; may return a promise
//   mark()          optional: a text; where it changes, Back returns to what was before. Otherwise the entry is written anew.

import { goTo } from "./layer.js";

const LONGEST = 16_000; // characters; a longer address is nothing that anyone can send

export class Address {
  #parts;
  #marks = [];
  #written = "";
  #reading = 0;
  #busy = false;

  /** `arrived()` is called once the parts hold what Back, Forward or a changed address says. */
  constructor(parts, arrived) {
    this.#parts = parts;
    this.#marks = this.#marksNow();
    const came = () => {
      if (location.hash.slice(1) !== this.#written) this.read().then(arrived);
    };
    addEventListener("popstate", came);
    addEventListener("hashchange", came);
  }

  /** Whether the address asks for anything. */
  get isEmpty() {
    return location.hash.length <= 1;
  }

  /** Lets the parts take what the address says. */
  async read() {
    const mine = (this.#reading += 1);
    this.#busy = true;
    this.#written = location.hash.slice(1);
    const values = new URLSearchParams(this.#written);
    for (const part of this.#parts) {
      await part.read(Object.fromEntries(part.names.map((name) => [name, values.getAll(name)])));
      if (mine !== this.#reading) return;
    }
    this.#busy = false;
    this.#marks = this.#marksNow();
  }

  /** Writes what the parts hold: a new entry of the browser's history, or the same one anew. */
  write() {
    if (this.#busy) return;
    const values = new URLSearchParams();
    for (const part of this.#parts) {
      for (const [name, value] of Object.entries(part.write())) {
        for (const one of [value].flat()) if (one) values.append(name, one);
      }
    }
    const whole = values.toString();
    const written = whole.length > LONGEST ? "" : whole; // rather none than an old one
    const marks = this.#marksNow();
    const fresh = marks.some((mark, i) => mark !== this.#marks[i]);
    this.#marks = marks;
    if (written === this.#written) return;
    this.#written = written;
    const url = written ? `#${written}` : location.pathname + location.search;
    if (fresh) goTo(url);
    else history.replaceState(history.state, "", url);
  }

  #marksNow() {
    return this.#parts.map((part) => part.mark?.() ?? "");
  }
}
