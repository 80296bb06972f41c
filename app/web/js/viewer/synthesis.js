// A picture made from a sketch and photos: the sketch put together from their pieces, or where it looked.

import * as api from "../api.js";
import { byId } from "../dom.js";
import { nameOf } from "../names.js";
import { Latest } from "../query.js";

const MOST = 20; // photos that give pieces
const ALT = {
  synthesis: (name) => `Your drawing put together from pieces of the photo: ${name}`,
  universal: () => "Your drawing put together from pieces of all results",
  attention: (name) => `Where your drawing looks in the photo: ${name}`,
};

export class Synthesis {
  #picture = byId("picture-synthesis");
  #image = this.#picture.querySelector("img");
  #buttons = [...byId("synthesis-kind").querySelectorAll("button")];
  #asking = new Latest();
  #kind = "synthesis";
  #asked = null; // {sketch, photo, results}

  constructor() {
    for (const button of this.#buttons) button.addEventListener("click", () => this.#show(button.dataset.kind));
  }

  /** Shows the picture of a photo among results; `matches`: whether the network matches parts, without which there is one kind. */
  show(sketch, photo, results, matches) {
    this.#asked = { sketch, photo, results };
    for (const button of this.#buttons) button.hidden = !matches && button.dataset.kind !== "attention";
    this.#show(matches ? this.#kind : "attention");
  }

  /** Says that a picture will be asked for. */
  wait() {
    this.#picture.classList.add("waiting");
    delete this.#picture.dataset.problem;
  }

  /** Says that there will be none. */
  fail() {
    this.#picture.classList.remove("waiting");
    this.#image.removeAttribute("src");
    this.#picture.dataset.problem = "This picture cannot be drawn now.";
  }

  cancel() {
    this.#asking.cancel();
  }

  async #show(kind) {
    const { sketch, photo, results } = this.#asked;
    this.#kind = kind;
    for (const button of this.#buttons) button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
    this.wait();
    this.#image.removeAttribute("src");
    this.#image.alt = ALT[kind](nameOf(photo));
    const among = kind === "universal" ? results.slice(0, MOST).map((result) => result.photo_id) : undefined;
    const format = kind === "universal" ? "synthesis" : kind;
    try {
      const blob = await this.#asking.run((signal) => api.explainPicture(sketch, photo.photo_id, format, among, signal));
      if (!blob) return;
      this.#image.addEventListener("load", () => URL.revokeObjectURL(this.#image.src), { once: true });
      this.#image.src = URL.createObjectURL(blob);
      this.#picture.classList.remove("waiting");
    } catch {
      this.fail();
    }
  }
}
