// What is asked for, and what came back: the page's state of a search.
//
// Events: "waiting", "results" ({detail: {answer, results, appended}}), "problem" ({detail}), "blank".

import * as api from "./api.js";
import { Debounce, Latest } from "./query.js";

const PAGE = 48;
const CANDIDATES = 96; // depth of the recall stage, until one scrolls further than that
const MOST = 480; // results of one search

export class Search extends EventTarget {
  order = "rerank";
  filters = {}; // which photos may be found, as fields of a search
  results = [];
  answer = null;
  like = null; // the result whose likes are shown, or null while the sketch is the query
  sketch = null; // PNG of the sketch that the results belong to
  #surface;
  #words;
  #wanted;
  #judged;
  #latest = new Latest();
  #more = new Latest();
  #soon = new Debounce(() => this.now());
  #loading = false;
  #complete = false;

  /**
   * The query: what `surface` shows, the `words` beside it (words.js) and the photo that is `wanted` (wanted_photo.js), refined
   * by what was `judged` (judged.js).
   */
  constructor(surface, words, wanted, judged) {
    super();
    this.#surface = surface;
    this.#words = words;
    this.#wanted = wanted;
    this.#judged = judged;
  }

  /** The sketch changed: ask again once the hand is quiet for `delay` ms. */
  soon(delay) {
    this.like = null;
    this.#soon.in(delay);
  }

  /** Asks again at once: the sketch, or the likes of a photo. */
  async now() {
    this.#soon.stop();
    this.#more.cancel();
    this.#loading = false;
    if (!this.like) {
      this.sketch = await this.#surface.picture();
      if (!this.sketch && !this.#words.text && !this.#wanted.file) return this.#blank();
    }
    this.dispatchEvent(new Event("waiting"));
    return this.#receive(this.#latest, PAGE);
  }

  async similarTo(result) {
    this.like = result;
    await this.now();
  }

  async backToSketch() {
    this.like = null;
    await this.now();
  }

  get canGrow() {
    return !this.#complete && this.results.length > 0;
  }

  async more() {
    if (this.#loading || !this.canGrow) return;
    this.#loading = true;
    await this.#receive(this.#more, this.results.length + PAGE);
    this.#loading = false;
  }

  /** Asks for the best `count`. Further pages look deeper, so they are asked for whole, and what is new is appended. */
  async #receive(line, count) {
    const reranked = this.order === "rerank";
    const fields = { top_k: count, candidates: Math.max(CANDIDATES, count), rerank: reranked, ...this.filters };
    const { like } = this;
    const parts = { sketch: this.sketch, text: this.#words.text || null, photo: this.#wanted.file, ...this.#judged.values };
    const appending = line === this.#more;
    if (appending && this.answer?.as_of) fields.as_of = this.answer.as_of; // photos added since then would shift the pages
    try {
      const answer = await line.run((signal) =>
        like ? api.similar(like.photo_id, count, signal) : api.search({ ...parts, ...fields }, signal),
      );
      if (answer) this.#show(answer, count, appending);
    } catch (problem) {
      if (problem.code === "blank_sketch") this.#blank();
      else this.dispatchEvent(new CustomEvent("problem", { detail: { problem, appending } }));
    }
  }

  #show(answer, count, appending) {
    const shown = appending ? this.results : [];
    const known = new Set(shown.map((result) => result.photo_id));
    const fresh = answer.results.filter((result) => !known.has(result.photo_id));
    this.results = [...shown, ...fresh.map((result, i) => ({ ...result, rank: shown.length + i + 1 }))];
    this.#complete = answer.results.length < count || count >= MOST;
    if (!appending) this.answer = answer;
    this.dispatchEvent(new CustomEvent("results", { detail: { results: this.results, appended: appending } }));
  }

  #blank() {
    this.#latest.cancel();
    this.sketch = null;
    this.answer = null;
    this.results = [];
    this.dispatchEvent(new Event("blank"));
  }
}
