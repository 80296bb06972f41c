// Near-identical photos that a result stands for: small pictures to choose from.
//
// Event: "choose" ({detail: photo}).

import * as api from "../api.js";
import { byId, make } from "../dom.js";

export class Alike extends EventTarget {
  #row = byId("alike");

  /** Shows a result and its duplicates, of which `shown` is seen large. */
  show(result, shown) {
    const photos = [result, ...(result.duplicates ?? [])];
    this.#row.hidden = photos.length < 2;
    byId("alike-title").textContent = `${photos.length} alike`;
    const focused = this.#row.contains(document.activeElement);
    byId("alike-list").replaceChildren(...photos.map((photo, i) => make("li", {}, this.#button(photo, i, photos.length, photo.photo_id === shown.photo_id))));
    if (focused) this.#row.querySelector("[aria-pressed=true]")?.focus();
  }

  #button(photo, i, of, pressed) {
    const image = make("img", { alt: "" });
    api.showPhoto(image, photo.thumbnail_url).catch(() => image.classList.add("failed"));
    const button = make("button", { type: "button", title: photo.path }, image);
    button.setAttribute("aria-label", `${i + 1} of ${of} alike: ${photo.path}`);
    button.setAttribute("aria-pressed", String(pressed));
    button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("choose", { detail: photo })));
    return button;
  }
}
