// What stands around the photos that were found: the head with the controls, the numbers for those who ask, and the foot that
// says how many are shown and offers more.

import { showPhoto, thumbnailOf } from "./api.js";
import { byId, plural } from "./dom.js";
import { showScores } from "./score_table.js";

const numbersShown = () => !byId("numbers").hidden;

/** Keeps the head and the foot of `search` as it is; `controls` says which of them make sense: {filters, reranks()}. */
export class ResultsView {
  #search;
  #controls;

  constructor(search, controls) {
    this.#search = search;
    this.#controls = controls;
    byId("more-button").addEventListener("click", () => this.#more());
    byId("details").addEventListener("click", () => {
      byId("numbers").hidden = numbersShown();
      byId("details").setAttribute("aria-expanded", String(numbersShown()));
      this.#showNumbers();
    });
  }

  show() {
    const { answer, like, results, sketch } = this.#search;
    const { filters, reranks } = this.#controls;
    byId("results-head").hidden = results.length === 0 && filters.isEmpty;
    byId("back-to-sketch").hidden = like === null;
    byId("like-picture").hidden = like === null;
    if (like) showPhoto(byId("like-picture"), thumbnailOf(like)).catch(() => {});
    byId("order").hidden = like !== null || !reranks() || sketch === null;
    byId("results-title").textContent = like ? "Photos like this one" : "Results";
    byId("results-note").textContent = results.length ? this.#counted(answer.total_photos) : "";
    this.#foot(answer.total_photos);
    this.#showNumbers();
  }

  hide() {
    byId("more").hidden = true;
    byId("results-note").textContent = "";
    byId("results-head").hidden = this.#controls.filters.isEmpty;
  }

  async #more() {
    const { length } = this.#search.results;
    byId("more-button").disabled = true;
    await this.#search.more();
    byId("more-button").disabled = false;
    // Whoever asked by keyboard goes on at the first photo that came.
    const next = this.#search.results[length];
    if (next) document.querySelector(`.card[data-photo="${CSS.escape(next.photo_id)}"] .card-open`)?.focus({ preventScroll: true });
  }

  #counted(photos) {
    const { likely, mayBeMoreLikely, results, hidden } = this.#search;
    const shown = `${results.length + hidden} of ${plural(photos, "photo")}`;
    if (likely === null) return shown;
    return `${mayBeMoreLikely ? "at least " : ""}${likely === 0 ? "none" : likely} likely, ${shown} shown`;
  }

  #foot(photos) {
    const { results, hidden, canGrow } = this.#search;
    const shown = results.length + hidden; // a card may stand for several photos
    byId("more").hidden = results.length === 0;
    byId("more-button").hidden = !canGrow;
    const rest = `${shown} of ${plural(photos, "photo")} shown.`;
    const ended = shown >= photos ? `All ${plural(photos, "photo")} shown.` : `${rest} Change the drawing, the words or the filters to find others.`;
    byId("more-note").textContent = canGrow ? rest : ended;
  }

  #showNumbers() {
    if (numbersShown()) showScores(byId("scores"), this.#search.results);
  }
}
