// "Why?": what the open photo has to do with what was asked.

import * as api from "../api.js";
import { byId } from "../dom.js";
import { Latest } from "../query.js";
import { Matches, worthShowing } from "./matches.js";
import { partNames, reason } from "./reasons.js";
import { Synthesis } from "./synthesis.js";

const HELP = "The same number marks what belongs together. Point at a part of either picture, or go there with Tab and the arrow keys, to see what it matches.";
const NONE = "No single part of your drawing clearly matches one part of this photo. It was found for how it looks as a whole.";
const NO_MATCHES = "This network weighs the parts of the photo without matching them to parts of the drawing. The picture below shows where it looked.";

/** Event: "explained" ({detail: explanation}), when the numbers behind the matches have come. */
export class Why extends EventTarget {
  panel = byId("why");
  #button = byId("viewer-why");
  #matches = new Matches();
  #synthesis = new Synthesis();
  #asking = new Latest();
  #shown = null; // {photo, asked, results}

  constructor() {
    super();
    this.#button.addEventListener("click", () => this.toggle());
  }

  get isOpen() {
    return !this.panel.hidden;
  }

  toggle(open = !this.isOpen) {
    this.panel.hidden = !open;
    this.#button.setAttribute("aria-expanded", String(open));
    if (this.#shown) this.show(...this.#shown);
    this.dispatchEvent(new Event("toggle"));
  }

  /** Whether lines join what matches. */
  set linking(linking) {
    this.#matches.linking = linking;
  }

  /**
   * Explains a photo among results, as soon as the panel is open.
   * `asked` is the query: {sketch: PNG or null, text, similar: the photo whose likes are shown, or null}.
   */
  show(photo, asked, results) {
    this.#shown = [photo, asked, results];
    this.#asking.cancel();
    this.#synthesis.cancel();
    this.#matches.clear();
    if (!this.isOpen) return;
    byId("why-words").textContent =
      photo.photo_id === asked.similar?.photo_id ? "This is the photo that you chose. The others are like it." : reason(photo.contributions, partNames(asked));
    byId("why-similar").hidden = !asked.similar;
    if (asked.similar) this.#showChosen(asked.similar);
    byId("why-sketch").hidden = !asked.sketch;
    if (asked.sketch) this.#explain(photo, asked.sketch, results);
  }

  cancel() {
    this.#asking.cancel();
    this.#synthesis.cancel();
    this.#matches.clear();
    this.#shown = null;
  }

  /** The photo whose likes are shown, where it can be had. */
  #showChosen(photo) {
    const figure = byId("why-similar");
    const image = figure.querySelector("img");
    const hide = () => (figure.hidden = true);
    image.onerror = hide;
    api.showPhoto(image, api.thumbnailOf(photo)).catch(hide);
  }

  async #explain(photo, sketch, results) {
    const help = byId("match-help");
    help.classList.remove("problem");
    help.textContent = "Looking for what matches…";
    this.#synthesis.wait();
    try {
      const said = await this.#asking.run((signal) => api.explain(sketch, photo.photo_id, signal));
      if (!said) return;
      const picture = byId("picture-sketch").querySelector("img");
      picture.src = said.sketch_image;
      await picture.decode().catch(() => {});
      if (this.#shown?.[0] !== photo || !this.isOpen) return;
      this.#matches.show(said);
      help.textContent = !said.matches ? NO_MATCHES : worthShowing(said).length ? HELP : NONE;
      this.#synthesis.show(sketch, photo, results, said.matches);
      this.dispatchEvent(new CustomEvent("explained", { detail: said }));
    } catch (problem) {
      help.textContent = problem.message || "This match cannot be explained now.";
      help.classList.add("problem");
      this.#synthesis.fail();
    }
  }
}
