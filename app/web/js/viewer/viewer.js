// One result, large. Its parts are modules of their own; this one opens and closes it, and turns to the next result.
//
// Events: "shown" and "closed" ({detail: photo id}), "similar" ({detail: result}).

import { byId, make } from "../dom.js";
import { covered, uncovered } from "../layer.js";
import { nameOf } from "../names.js";
import { Alike } from "./alike.js";
import { Details } from "./details.js";
import { startGestures } from "./gestures.js";
import { LargePhoto } from "./large_photo.js";
import { Why } from "./why.js";
import { Zoom } from "./zoom.js";

const NUDGE = 80; // pixels that an arrow key moves a zoomed photo
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/** Says that a button does nothing now. It keeps the focus, so that keys go on working. */
const mute = (id, muted) => byId(id).setAttribute("aria-disabled", String(muted));

export class Viewer extends EventTarget {
  #dialog = byId("viewer");
  #stage = byId("stage");
  #zoom = new Zoom(this.#stage, byId("picture-photo"));
  #large = new LargePhoto();
  #why = new Why();
  #details = new Details();
  #alike = new Alike();
  #search;
  #words;
  #asked = null; // the query that the results answer
  #answer = null; // of that query
  #results = [];
  #at = 0;
  #photo = null; // what is shown: the result, or one of those that it stands for

  /** Shows what `search` found; `words` are those beside the drawing. */
  constructor(search, words) {
    super();
    this.#search = search;
    this.#words = words;
    byId("viewer-close").addEventListener("click", () => this.#dialog.close());
    byId("viewer-prev").addEventListener("click", () => this.#turn(-1));
    byId("viewer-next").addEventListener("click", () => this.#turn(1));
    byId("zoom-in").addEventListener("click", () => this.#zoom.in());
    byId("zoom-out").addEventListener("click", () => this.#zoom.out());
    byId("full-screen").addEventListener("click", () => this.#fullScreen());
    byId("full-screen").hidden = !document.fullscreenEnabled;
    byId("viewer-similar").addEventListener("click", () => {
      const result = this.#photo;
      this.#dialog.close();
      this.dispatchEvent(new CustomEvent("similar", { detail: result }));
    });
    startGestures(this.#stage, this.#zoom, (by) => this.#turn(by));
    this.#zoom.addEventListener("change", () => this.#zoomed());
    this.#alike.addEventListener("choose", ({ detail }) => this.#show(detail));
    this.#why.addEventListener("explained", ({ detail }) => this.#details.show(this.#photo, this.#asked, detail));
    for (const part of [this.#why, this.#details]) part.addEventListener("toggle", () => this.#arrange(part));
    this.#dialog.addEventListener("keydown", (event) => this.#key(event));
    this.#dialog.addEventListener("click", (event) => event.target === this.#dialog && this.#dialog.close());
    this.#dialog.addEventListener("close", () => this.#closed());
  }

  /** Opens the result of this photo. */
  open(photoId) {
    const { like, sketch, results, answer } = this.#search;
    this.#asked = { sketch: like ? null : sketch, text: like ? "" : this.#words.text, similar: like };
    this.#results = results;
    this.#answer = answer;
    this.#at = Math.max(0, results.findIndex((result) => result.photo_id === photoId));
    if (!this.#dialog.open) {
      this.#dialog.showModal();
      covered(() => this.#dialog.close());
    }
    this.#show(this.#results[this.#at]);
  }

  async #turn(by) {
    const to = this.#at + by;
    if (to < 0) return;
    if (to >= this.#results.length) await this.#load();
    if (to >= this.#results.length) return;
    this.#at = to;
    this.#show(this.#results[to]);
  }

  /** More results, unless others have taken their place meanwhile. */
  async #load() {
    const same = () => this.#search.answer === this.#answer;
    if (same() && this.#search.canGrow) await this.#search.more();
    if (same()) this.#results = this.#search.results;
  }

  get #canTurn() {
    return this.#at + 1 < this.#results.length || (this.#search.answer === this.#answer && this.#search.canGrow);
  }

  #show(photo) {
    const result = this.#results[this.#at];
    this.#photo = photo === result ? result : { ...result, ...photo };
    const name = nameOf(this.#photo);
    byId("viewer-title").textContent = name;
    byId("viewer-place").replaceChildren(make("span", { class: "sr" }, `${name}, `), `${this.#at + 1} of ${this.#results.length}`);
    mute("viewer-prev", this.#at === 0);
    mute("viewer-next", !this.#canTurn);
    this.#zoom.reset();
    this.#large.show(this.#photo);
    this.#alike.show(result, this.#photo);
    this.#details.show(this.#photo, this.#asked);
    this.#why.show(this.#photo, this.#asked, this.#results);
    if (!this.#dialog.contains(document.activeElement)) this.#stage.focus(); // what had the focus is gone
    this.dispatchEvent(new CustomEvent("shown", { detail: this.#photo.photo_id }));
  }

  #closed() {
    uncovered();
    this.#why.cancel();
    this.dispatchEvent(new CustomEvent("closed", { detail: this.#results[this.#at].photo_id }));
  }

  /** Shows the side while a part of it is open, from the one that was just opened. */
  #arrange(part) {
    byId("viewer-side").hidden = !this.#why.isOpen && !this.#details.isOpen;
    if (part.isOpen) part.panel.scrollIntoView({ block: "start" });
  }

  #zoomed() {
    mute("zoom-out", !this.#zoom.isIn);
    mute("zoom-in", this.#zoom.isMost);
    this.#why.linking = !this.#zoom.isIn;
  }

  #fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.#stage.requestFullscreen().catch(() => {}); // the browser may say no; the photo stays as it is
  }

  #key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    if (arrow && event.target.closest(".patch")) return; // they go from part to part
    if (arrow && this.#zoom.isIn) this.#zoom.move(arrow[0] * NUDGE, arrow[1] * NUDGE);
    else if (arrow?.[0]) this.#turn(-arrow[0]);
    else if (event.key === "+" || event.key === "=") this.#zoom.in();
    else if (event.key === "-") this.#zoom.out();
    else if (event.key === "0") this.#zoom.reset();
    else if (event.key.toLowerCase() === "f") this.#fullScreen();
    else return;
    event.preventDefault();
  }
}
