// What is asked for, and what came back: the page's state of a search.
//
// Events: "waiting", "results" ({detail: {results, appended}}), "problem" ({detail}), "blank" (nothing is asked for), and
// "faint" where a drawing tells too little ({detail: "invisible" or "little"}); `insist()` shows what was found all the same.
// "asked" comes as soon as something else is asked for, "settled" once what is asked for last has its answer or its problem.

import * as api from "./api.js";
import { Debounce, Latest } from "./query.js";

const PAGE = 48; // results asked for at once
const CANDIDATES = 100; // depth of the recall stage, until one asks for more; among so many the line is drawn
const MOST = 480; // results of one search
const DEEPEST = 1000; // candidates
const BEHIND = 12; // results shown behind the likely ones
const FEWEST = 24; // results shown at first, if there are so many

/** How many photos stand behind others that are near-identical to them. */
const hiddenAmong = (results) => results.reduce((sum, { duplicates }) => sum + (duplicates?.length ?? 0), 0);

/** How many results are shown at first: the likely ones and a few behind them, or a page where nobody knows. */
const firstShown = (results) => {
  const likely = results.filter((result) => result.likely).length;
  return results.some((result) => result.likely === null) ? PAGE : Math.max(FEWEST, likely + BEHIND);
};

export class Search extends EventTarget {
  order = "rerank";
  filters = {}; // which photos may be found, as fields of a search
  answer = null;
  sketch = null; // PNG of the sketch that the results belong to
  #found = []; // what came back, shown or not
  #pages = []; // how many results were shown after each time that one asked for more
  #like = null;
  #insists = false; // on results of a drawing that tells too little
  #changed = true; // whether something else is asked for than what the results belong to
  #surface;
  #words;
  #wanted;
  #judged;
  #latest = new Latest();
  #more = new Latest();
  #soon = new Debounce(() => this.now());
  #asked = 0; // how often something was asked for: a drawing takes a moment to become a picture, and may change meanwhile
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

  /** The results that are shown. */
  get results() {
    return this.#found.slice(0, this.#pages.at(-1) ?? 0);
  }

  /** How many results each page ends with; cards of an earlier page stay where they are. */
  get pages() {
    return this.#pages;
  }

  /** How many near-identical photos stand behind the results that are shown. */
  get hidden() {
    return hiddenAmong(this.results);
  }

  /** How many of all results are likely; null where the service cannot tell. */
  get likely() {
    const unknown = this.#found.some((result) => result.likely === null || result.likely === undefined);
    return unknown ? null : this.#found.filter((result) => result.likely).length;
  }

  /** Whether photos that have not come yet may be likely too. */
  get mayBeMoreLikely() {
    return !this.#complete && this.likely === this.#found.length;
  }

  /** The sketch changed: ask again once the hand is quiet for `delay` ms. */
  soon(delay) {
    this.#leave();
    this.#insists = false;
    this.#changed = true;
    this.#anew();
    this.#soon.in(delay);
  }

  /** Asks at once. */
  now() {
    this.#changed = true;
    return this.#begin();
  }

  /** Asks the same again, since the gallery may answer otherwise now. As many results stay shown as there are. */
  refresh() {
    return this.#begin();
  }

  /** Says that something else is asked for; the number of this question. */
  #anew() {
    this.#asked += 1;
    this.dispatchEvent(new Event("asked"));
    return this.#asked;
  }

  async #begin() {
    const mine = this.#anew();
    this.#soon.stop();
    this.#more.cancel();
    this.#loading = false;
    try {
      if (!this.like) {
        const sketch = await this.#surface.picture();
        if (mine !== this.#asked) return;
        this.sketch = sketch;
      }
      if (!this.like && !this.sketch && !this.#words.text && !this.#wanted.file) return this.#blank();
      this.dispatchEvent(new Event("waiting"));
      await this.#receive(this.#latest, this.#changed ? PAGE : Math.max(PAGE, this.results.length));
    } finally {
      if (mine === this.#asked) this.dispatchEvent(new Event("settled")); // a picture that cannot be made is no reason to wait
    }
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
    return this.results.length < this.#found.length || (!this.#complete && this.#found.length > 0);
  }

  /** Shows another page. */
  async more() {
    if (this.#loading || !this.canGrow) return;
    const count = this.results.length + PAGE;
    if (count > this.#found.length && !this.#complete) {
      this.#loading = true;
      await this.#receive(this.#more, Math.min(MOST, count));
      this.#loading = false;
    } else this.#grow(count);
  }

  /** Shows what a drawing found that tells too little. */
  insist() {
    this.#insists = true;
    return this.now();
  }

  /** Asks for the best `count`. Further pages look deeper, so they are asked for whole, and what is new is appended. */
  async #receive(line, count) {
    const reranked = this.order === "rerank";
    const appending = line === this.#more;
    const depth = Math.min(DEEPEST, Math.max(CANDIDATES, count + (appending || !this.#changed ? hiddenAmong(this.#found) : 0)));
    const fields = { top_k: count, candidates: depth, rerank: reranked, collapse: true, ...this.filters };
    if (appending && this.answer?.as_of) fields.as_of = this.answer.as_of; // photos added since then would shift the pages
    try {
      const answer = await this.#ask(line, fields);
      if (answer) this.#take(answer, count, depth, appending);
    } catch (problem) {
      if (problem.code === "blank_sketch") this.#faint("invisible");
      else this.dispatchEvent(new CustomEvent("problem", { detail: { problem, appending } }));
    }
  }

  /** Asks with the sketch; and without it where the service sees nothing drawn, but something else says what is wanted. */
  async #ask(line, fields) {
    const parts = this.#parts();
    const ask = () => line.run((signal) => api.search({ ...parts, ...fields }, signal));
    try {
      return await ask();
    } catch (problem) {
      if (problem.code !== "blank_sketch" || !(parts.text || parts.photo || parts.like.length > 0)) throw problem;
      this.sketch = parts.sketch = null;
      return ask();
    }
  }

  #parts() {
    const { like = [], unlike = [] } = this.#judged.values;
    if (this.like) return { like: [this.like.photo_id, ...like], unlike };
    return { sketch: this.sketch, text: this.#words.text || null, photo: this.#wanted.file, like, unlike };
  }

  #take(answer, count, depth, appending) {
    if (!appending && answer.little_ink && !this.#insists && Object.keys(answer.parts).join() === "sketch") {
      return this.#faint("little");
    }
    const found = new Map(answer.results.map((result) => [result.photo_id, result]));
    // A deeper look may find more photos that are alike, and moves nothing that is there.
    const known = (appending ? this.#found : []).map((result) => ({ ...(found.get(result.photo_id) ?? result), rank: result.rank }));
    for (const { photo_id: id } of known) found.delete(id);
    this.#found = [...known, ...[...found.values()].map((result, i) => ({ ...result, rank: known.length + i + 1 }))];
    const looked = answer.results.length + hiddenAmong(answer.results);
    this.#complete = (answer.results.length < count && looked < depth) || count >= MOST || depth >= DEEPEST;
    if (this.like) this.like = this.#found.find(({ photo_id: id }) => id === this.like.photo_id) ?? this.like;
    if (appending) return this.#grow(count);
    this.answer = answer;
    const pages = this.#changed ? [] : this.#pages;
    this.#changed = false;
    this.#pages = pages.slice(0, -1);
    return this.#grow(Math.max(pages.at(-1) ?? 0, firstShown(this.#found)), false);
  }

  #grow(count, appended = true) {
    this.#pages.push(Math.min(count, this.#found.length));
    this.dispatchEvent(new CustomEvent("results", { detail: { results: this.results, appended } }));
  }

  #forget() {
    this.#latest.cancel();
    this.answer = null;
    this.#found = [];
    this.#pages = [];
  }

  #blank() {
    this.#forget();
    this.sketch = null;
    this.dispatchEvent(new Event("blank"));
  }

  #faint(why) {
    this.#forget();
    this.dispatchEvent(new CustomEvent("faint", { detail: why }));
  }
}
