// What is asked for, and what came back: the page's state of a search.
//
// Events: "waiting", "results" ({detail: {answer, results, appended}}), "problem" ({detail}), "blank".

import * as api from "./api.js";
import { Debounce, Latest } from "./query.js";

const PAGE = 48;
const CANDIDATES = 96; // depth of the recall stage, until one scrolls further than that
const MOST = 480; // results of one search
const DEEPEST = 1000; // candidates

/** How many photos stand behind others that are near-identical to them. */
const hiddenAmong = (results) => results.reduce((sum, { duplicates }) => sum + (duplicates?.length ?? 0), 0);

export class Search extends EventTarget {
  order = "rerank";
  filters = {}; // which photos may be found, as fields of a search
  results = [];
  answer = null;
  sketch = null; // PNG of the sketch that the results belong to
  #surface;
  #words;
  #wanted;
  #judged;
  #like = null;
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

  /** The photo that alone is the query, with the filters and opinions of its own; null while the paper and what is beside it are. */
  get like() {
    return this.#like;
  }

  set like(photo) {
    this.#like = photo;
    this.#judged.chosen = photo?.photo_id ?? null;
  }

  /** The sketch changed: ask again once the hand is quiet for `delay` ms. */
  soon(delay) {
    this.#leave();
    this.#soon.in(delay);
  }

  /** Asks again at once. */
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

  /** Asks for photos like a result. Opinions of what the sketch found wait until it is asked for again. */
  async similarTo(result) {
    this.#judged.setAside();
    this.like = result;
    await this.now();
  }

  async backToSketch() {
    this.#leave();
    await this.now();
  }

  #leave() {
    if (this.like) this.#judged.bringBack();
    this.like = null;
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
    const appending = line === this.#more;
    const depth = Math.min(DEEPEST, Math.max(CANDIDATES, count + (appending ? hiddenAmong(this.results) : 0)));
    const fields = { top_k: count, candidates: depth, rerank: reranked, collapse: true, ...this.filters };
    const parts = this.#parts();
    if (appending && this.answer?.as_of) fields.as_of = this.answer.as_of; // photos added since then would shift the pages
    try {
      const answer = await line.run((signal) => api.search({ ...parts, ...fields }, signal));
      if (answer) this.#show(answer, count, depth, appending);
    } catch (problem) {
      if (problem.code === "blank_sketch") this.#blank();
      else this.dispatchEvent(new CustomEvent("problem", { detail: { problem, appending } }));
    }
  }

  #parts() {
    const { like = [], unlike = [] } = this.#judged.values;
    if (this.like) return { like: [this.like.photo_id, ...like], unlike };
    return { sketch: this.sketch, text: this.#words.text || null, photo: this.#wanted.file, like, unlike };
  }

  #show(answer, count, depth, appending) {
    const found = new Map(answer.results.map((result) => [result.photo_id, result]));
    // A deeper look may find more photos that are alike, and moves nothing that is shown.
    const shown = (appending ? this.results : []).map((result) => ({ ...(found.get(result.photo_id) ?? result), rank: result.rank }));
    for (const { photo_id: known } of shown) found.delete(known);
    this.results = [...shown, ...[...found.values()].map((result, i) => ({ ...result, rank: shown.length + i + 1 }))];
    const looked = answer.results.length + hiddenAmong(answer.results);
    this.#complete = (answer.results.length < count && looked < depth) || count >= MOST || depth >= DEEPEST;
    if (this.like) this.like = this.results.find(({ photo_id: id }) => id === this.like.photo_id) ?? this.like;
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
