// The grid of results, in lists: one for what is likely and one for what is less so, and another for each page that was asked
// for. A list's rows are its own, so cards stay where they are when more come. Cards are kept by photo id, so that a photo
// that stays from one search to the next is seen to move.
//
// Tab stops once in the grid: at one card and its buttons. Arrow keys go from card to card.
//
// Events: "open" and "similar" ({detail: photo id}), "judge" ({detail: {photoId, verdict}}), "selected".

import { fillCard, makeCard, stopAt } from "./card.js";
import { byId, calm, make } from "./dom.js";

const SAID = { likely: "Likely results", less: "Less likely results", all: "Results" };

export class Grid extends EventTarget {
  verdictOf = () => null; // of a photo id: "like", "unlike" or null
  selected = new Set(); // photo ids, of results that are shown
  #box;
  #cards = new Map();
  #results = [];
  #current = null; // photo id of the card at which Tab stops
  #last = null; // photo id that was selected last

  constructor(box) {
    super();
    this.#box = box;
    box.addEventListener("keydown", (event) => this.#walk(event));
    box.addEventListener("focusin", ({ target }) => this.#stop(target.closest(".card")?.dataset.photo ?? null));
  }

  /** Shows these results. `line`: how many are likely, or null; `pages`: how many results each page ends with. */
  show(results, line = null, pages = []) {
    const before = this.#places();
    const held = this.#box.contains(document.activeElement) ? document.activeElement : null;
    const place = [...this.#cards.keys()].indexOf(this.#current);
    const kept = new Map();
    for (const result of results) kept.set(result.photo_id, this.#cards.get(result.photo_id) ?? this.#make(result));
    for (const id of this.selected) if (!kept.has(id)) this.selected.delete(id);
    this.#cards = kept;
    this.#results = results;
    this.refresh();
    this.#box.style.minHeight = `${this.#box.offsetHeight}px`; // without its cards, the page would lose its place
    this.#box.replaceChildren(...this.#lists(line, pages));
    this.#box.style.minHeight = "";
    // Whoever is at a card, or has its photo open, goes on at the same place where that card is gone.
    const same = held || document.querySelector("dialog[open]") ? Math.max(0, Math.min(place, results.length - 1)) : 0;
    const next = kept.has(this.#current) ? this.#current : (results[same]?.photo_id ?? null);
    this.#stop(next);
    if (held && this.#box.contains(held)) held.focus({ preventScroll: true });
    else if (held) this.focus(next, { preventScroll: true });
    this.#slide(before);
    this.dispatchEvent(new Event("selected"));
  }

  clear() {
    this.show([]);
  }

  /** Writes anew what cards say of the results that are shown. */
  refresh() {
    for (const result of this.#results) {
      const id = result.photo_id;
      fillCard(this.#cards.get(id), result, this.verdictOf(id), this.selected.has(id));
    }
  }

  /** Puts the focus on this photo's card; where it is gone, on the card at which Tab stops. */
  focus(photoId = this.#current, options = {}) {
    const card = this.#cards.get(photoId) ?? this.#cards.get(this.#current);
    (card?.querySelector(".card-open") ?? byId("results")).focus(options);
  }

  /** Shows what is in `selected` now, and tells of it. */
  changed() {
    this.refresh();
    this.dispatchEvent(new Event("selected"));
  }

  unselect() {
    this.selected.clear();
    this.#last = null;
    this.changed();
  }

  #make(result) {
    return makeCard(result, (name, detail) => {
      if (name === "select") this.#select(detail);
      else this.dispatchEvent(new CustomEvent(name, { detail }));
    });
  }

  #lists(line, pages) {
    const ids = [...this.#cards.keys()];
    const ends = [...new Set([...pages, ...(line === null ? [] : [line]), ids.length])].sort((a, b) => a - b);
    const parts = [];
    let start = 0;
    for (const end of ends.filter((one) => one > 0 && one <= ids.length)) {
      if (start === line) parts.push(seam(line));
      const name = line === null ? "all" : start < line ? "likely" : "less";
      const label = start === 0 || start === line ? SAID[name] : `${SAID[name]} from ${start + 1}`;
      const list = make("ol", { class: "cards", start: start + 1, attributes: { "aria-label": label } });
      list.append(...ids.slice(start, end).map((id) => this.#cards.get(id)));
      parts.push(list);
      start = end;
    }
    return parts;
  }

  // Keys

  #stop(photoId) {
    if (photoId === null && this.#current !== null && this.#cards.has(this.#current)) return;
    this.#current = photoId;
    for (const [id, card] of this.#cards) stopAt(card, id === photoId);
  }

  #walk(event) {
    const card = event.target.closest(".card");
    if (!card || event.ctrlKey || event.metaKey || event.altKey) return;
    const cards = [...this.#cards.values()];
    const here = cards.indexOf(card);
    const to = {
      ArrowLeft: () => cards[here - 1],
      ArrowRight: () => cards[here + 1],
      ArrowUp: () => nearest(card, cards.slice(0, here), -1),
      ArrowDown: () => nearest(card, cards.slice(here + 1), 1),
      Home: () => cards[0],
      End: () => cards.at(-1),
    }[event.key];
    const { photo } = card.dataset;
    if (event.key === " " && event.target.matches(".card-open")) {
      this.#select({ photoId: photo, chosen: event.shiftKey || !this.selected.has(photo), through: event.shiftKey });
    } else if (to) to()?.querySelector(".card-open").focus();
    else return;
    event.preventDefault();
  }

  #select({ photoId, chosen, through }) {
    const ids = [...this.#cards.keys()];
    const [from, to] = [ids.indexOf(through ? this.#last : photoId), ids.indexOf(photoId)].sort((a, b) => a - b);
    for (const id of from < 0 ? [photoId] : ids.slice(from, to + 1)) {
      if (chosen) this.selected.add(id);
      else this.selected.delete(id);
    }
    this.#last = photoId;
    this.changed();
  }

  // Movement

  #places() {
    if (calm()) return new Map();
    const places = new Map();
    for (const [id, card] of this.#cards) places.set(id, { x: card.offsetLeft, y: card.offsetTop });
    return places;
  }

  #slide(before) {
    for (const [id, card] of this.#cards) {
      const place = before.get(id);
      if (!place) continue;
      const x = place.x - card.offsetLeft;
      const y = place.y - card.offsetTop;
      if (x === 0 && y === 0) continue;
      card.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], {
        duration: 280,
        easing: "cubic-bezier(0.2, 0.7, 0.3, 1)",
      });
    }
  }
}

/** The line between what is likely and what is not. */
const seam = (likely) =>
  make("p", { class: "seam" }, likely > 0 ? "Less likely from here" : "Nothing here is a likely match. These come nearest.");

/** The card in the next row, upwards (-1) or downwards (1), that lies nearest to this one. */
function nearest(card, others, way) {
  const middle = (one) => one.offsetLeft + one.offsetWidth / 2;
  const beyond = others.filter((one) => Math.sign(one.offsetTop - card.offsetTop) === way);
  const row = Math.min(...beyond.map((one) => Math.abs(one.offsetTop - card.offsetTop)));
  const inRow = beyond.filter((one) => Math.abs(one.offsetTop - card.offsetTop) === row);
  return inRow.sort((a, b) => Math.abs(middle(a) - middle(card)) - Math.abs(middle(b) - middle(card)))[0];
}
