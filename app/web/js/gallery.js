// The gallery's state: how many photos, which tags, whether a build is running. Asked for now and then while the page is seen.
//
// Event: "change" after a new version.

import * as api from "./api.js";
import { byId, count, make, plural } from "./dom.js";

const IDLE = 20000;
const BUILDING = 1500;
const THERE = new Set(["most_lost", "emptied"]); // why photos are held although their folder is there

export class GalleryState extends EventTarget {
  photos = null;
  version = null;
  tags = []; // [{name, photos}]
  reranks = true; // whether the second stage may change the order
  #timer = 0;
  #held = "";

  constructor() {
    super();
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.refresh();
    });
  }

  /** Asks the service now. Throws a Problem where it cannot say. */
  async load() {
    const state = await api.gallery();
    const changed = this.photos !== null && (state.version !== this.version || state.photos !== this.photos);
    this.photos = state.photos;
    this.version = state.version;
    this.tags = state.tags;
    this.reranks = state.checkpoint.reranks;
    byId("gallery-status").textContent = plural(state.photos, "photo");
    this.#showBuild(state.building);
    this.#showHeld(state.held);
    if (changed) this.dispatchEvent(new Event("change"));
    this.#again(state.building ? BUILDING : IDLE);
    return state;
  }

  /** The same, quietly: a failure here shows at the next search. */
  async refresh() {
    try {
      await this.load();
    } catch {
      this.#again(IDLE);
    }
  }

  #again(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (document.visibilityState === "visible") this.refresh();
    }, delay);
  }

  /** Which photos are kept although their folder is away, and what to do; written anew only when that changes. */
  #showHeld(held) {
    const lines = held.map(
      ({ folder, photos, code, detail }) => `${plural(photos, "photo")} of “${folder}” can be found but not shown. ${detail} They come back with ${THERE.has(code) ? "their files" : "the folder"}. If they are gone, confirm that: sketchseek gallery sync --accept-loss`,
    );
    const box = byId("held");
    if (lines.join() !== this.#held) box.replaceChildren(...lines.map((line) => make("p", {}, line)));
    this.#held = lines.join();
    box.hidden = lines.length === 0;
  }

  #showBuild(build) {
    byId("build").hidden = !build;
    if (!build) return;
    const { step, done, total } = build;
    const bar = byId("build-progress");
    byId("build-text").textContent = total
      ? `Building the gallery (${step}): ${count(done)} of ${count(total)} photos. What is done can be searched already.`
      : `Building the gallery (${step})…`;
    if (total) {
      bar.max = total;
      bar.value = done;
    } else bar.removeAttribute("value");
  }
}
