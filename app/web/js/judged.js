// Opinions of the results: photos that are what is wanted, and photos that are not. They refine the query, and stay in sight as
// small pictures, since a photo that is not wanted is no longer among the results.
//
// Event: "change".

import { isGone, showPhoto } from "./api.js";
import { byId, icon, make } from "./dom.js";
import { toast } from "./say.js";

const MOST = 32; // of each kind; a service takes no more
const SAID = { like: "more of this", unlike: "less of this" };

export class Judged extends EventTarget {
  chosen = null; // id of the photo that is the query: there is no second opinion of it
  #verdicts = new Map(); // photo id to "like" or "unlike"
  #aside = null; // opinions that wait, as values

  /** "like", "unlike" or null. */
  of(photoId) {
    return this.#verdicts.get(photoId) ?? null;
  }

  /** Photo ids as fields of a search; empty kinds are left out. */
  get values() {
    const values = {};
    for (const [photoId, verdict] of this.#verdicts) (values[verdict] ??= []).push(photoId);
    return values;
  }

  /** Judges a photo; the same verdict again takes it back. */
  judge(photoId, verdict) {
    if (photoId === this.chosen) return toast("This is the photo that you chose. The others are like it.");
    if (this.of(photoId) === verdict) this.#verdicts.delete(photoId);
    else if ((this.values[verdict]?.length ?? 0) >= MOST) return toast(`${MOST} photos are enough. Take one away first.`);
    else this.#verdicts.set(photoId, verdict);
    this.#show();
    return this.dispatchEvent(new Event("change"));
  }

  /** Begins without opinions. Those that were there wait. */
  setAside() {
    const aside = this.#aside ?? this.values;
    this.choose({});
    this.#aside = aside;
  }

  /** Opinions that wait are in force again. */
  bringBack() {
    this.choose(this.#aside ?? {});
  }

  /** Lets the buttons of the open result (viewer/viewer.js) judge it. */
  follow(viewer) {
    const buttons = byId("viewer").querySelectorAll("[data-verdict]");
    let shown = null;
    const press = () => {
      for (const button of buttons) button.setAttribute("aria-pressed", String(this.of(shown) === button.dataset.verdict));
    };
    viewer.addEventListener("shown", ({ detail }) => {
      shown = detail;
      press();
    });
    for (const button of buttons) {
      button.addEventListener("click", () => {
        this.judge(shown, button.dataset.verdict);
        press();
      });
    }
  }

  /** Shows these as judged, {like, unlike}: [photo id], and tells nobody. */
  choose({ like = [], unlike = [] }) {
    this.#aside = null;
    this.#verdicts = new Map([...like.map((id) => [id, "like"]), ...unlike.map((id) => [id, "unlike"])]);
    this.#show();
  }

  /** Takes away, without telling, the photos that the gallery no longer has; how many those were. */
  async dropGone() {
    const ids = [...this.#verdicts.keys()];
    const gone = await Promise.all(ids.map(isGone));
    const dropped = ids.filter((_, i) => gone[i]);
    for (const id of dropped) this.#verdicts.delete(id);
    this.#show();
    return dropped.length;
  }

  #show() {
    const row = byId("judged");
    row.hidden = this.#verdicts.size === 0;
    row.replaceChildren(
      ...[...this.#verdicts].map(([photoId, verdict]) => {
        const image = make("img", { alt: "" });
        showPhoto(image, `photos/${encodeURIComponent(photoId)}/thumbnail`).catch(() => image.classList.add("failed"));
        const chip = make("button", { type: "button", class: "chip" }, icon(verdict), image, icon("close"));
        chip.setAttribute("aria-label", `No longer: ${SAID[verdict]}`);
        chip.title = `No longer: ${SAID[verdict]}`;
        chip.addEventListener("click", () => this.judge(photoId, verdict));
        return chip;
      }),
    );
  }
}
