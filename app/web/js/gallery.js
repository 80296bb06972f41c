// The gallery's state: how many photos, which tags, whether a build is running. While the page is seen, the service tells
// of changes; where it cannot, it is asked now and then.
//
// Events: "change" after a new version; "building" when a build begins or ends.

import * as api from "./api.js";
import { byId, count, make, plural } from "./dom.js";

const IDLE = 20000; // ms between questions
const BUILDING = 1500; // the same while a build runs, and between looks at the versions that it makes
const LASTING = 700; // ms that a change takes at least to be worth a line
const AGAIN = 1000; // after the service ended what it tells; a proxy may have done so
const THERE = new Set(["most_lost", "emptied"]); // why photos are held although their folder is there

export class GalleryState extends EventTarget {
  photos = null;
  version = null;
  tags = []; // [{name, photos}]
  reranks = true; // whether the second stage may change the order
  folders = []; // what the folders of photos are called
  following = null; // how the service follows them
  building = null; // {step, done, total}
  #timer = 0;
  #loaded = 0;
  #flip = 0;
  #ending = null; // ends what the service tells
  #told = false;
  #held = "";

  constructor() {
    super();
    document.addEventListener("visibilitychange", () => {
      // Browsers keep few connections to one host, so pages that nobody sees hold none.
      if (document.visibilityState === "visible") this.refresh();
      else this.#ending?.abort();
    });
  }

  /** Asks the service now. Throws a Problem where it cannot say. */
  async load() {
    const state = await api.gallery();
    this.#loaded = performance.now();
    const known = this.photos !== null && this.photos + state.photos > 0; // a first version without photos is no news
    const changed = known && (state.version !== this.version || state.photos !== this.photos);
    this.photos = state.photos;
    this.version = state.version;
    this.tags = state.tags;
    this.reranks = state.checkpoint.reranks;
    byId("gallery-status").textContent = plural(state.photos, "photo");
    this.folders = state.folders;
    this.following = state.following;
    this.#showBuild(state.building);
    this.#showHeld(state.held);
    if (changed) this.dispatchEvent(new Event("change"));
    if (!this.#told) this.#again(state.building ? BUILDING : IDLE);
    this.#listen();
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

  /** Follows what the service tells, until it ends; then it is asked, and listened to, again. */
  async #listen() {
    if (this.#ending || document.visibilityState !== "visible") return;
    this.#ending = new AbortController();
    let pause = IDLE;
    try {
      for await (const news of api.galleryEvents(this.#ending)) {
        this.#told = true;
        pause = AGAIN;
        clearTimeout(this.#timer);
        await this.#take(news);
      }
    } catch {
      // It is asked instead.
    }
    this.#ending = null;
    this.#told = false;
    this.#again(this.building ? BUILDING : pause);
  }

  async #take({ version, photos, building }) {
    const ended = this.building && !building;
    this.#showBuild(building);
    if (!ended && version === this.version && photos === this.photos) return;
    // A build makes a version after each batch; not every one is worth a search.
    const wait = this.#loaded + BUILDING - performance.now();
    if (building && wait > 0) this.#again(wait);
    else await this.refresh();
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
    const flips = Boolean(build) !== Boolean(this.building);
    this.building = build;
    if (flips) {
      clearTimeout(this.#flip);
      this.#flip = setTimeout(() => {
        byId("build").hidden = !this.building;
        this.dispatchEvent(new Event("building"));
      }, build ? LASTING : 0);
    }
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
