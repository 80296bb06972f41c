// The photo of the open result, as large as there is room, and the links to its file.

import * as api from "../api.js";
import { byId } from "../dom.js";
import { nameOf } from "../names.js";

const SHARP = 4; // times its own size: a small photo is shown no larger than this

export class LargePhoto {
  #frame = byId("picture-photo");
  #image = this.#frame.querySelector("img");
  #shown = null;

  constructor() {
    // A near-identical photo may be cropped a little, and only the picture itself says so.
    this.#image.addEventListener("load", () => this.#shape(this.#image.naturalWidth, this.#image.naturalHeight, this.#shown.width));
  }

  show(photo) {
    this.#shown = photo;
    this.#image.alt = nameOf(photo);
    this.#shape(photo.width, photo.height, photo.width);
    byId("viewer-problem").hidden = true;
    const isShown = api.isShown(photo.path);
    this.#offerOriginal(photo);
    // A name may promise what the file is not, or a camera's JPEG be too large for this browser.
    this.#image.onerror = () => {
      this.#image.onerror = null;
      if (photo !== this.#shown) return;
      if (!isShown) return this.#problem("The photo cannot be loaded.");
      this.#load(photo, api.screenOf(photo));
    };
    this.#load(photo, api.pictureOf(photo));
  }

  #load(photo, address) {
    const open = byId("viewer-open");
    open.href = api.photoAddress(address);
    const still = () => photo === this.#shown;
    api.showPhoto(this.#image, address, still).then(
      () => still() && (open.href = this.#image.src), // the same address, or the bytes that were fetched with a key
      () => still() && this.#problem("The photo cannot be loaded."),
    );
  }

  #shape(width, height, own) {
    if (!width || !height) return;
    this.#frame.style.setProperty("--ratio", width / height);
    this.#frame.style.setProperty("--most", `${SHARP * (own || width)}px`);
  }

  #problem(text) {
    byId("viewer-problem").textContent = text;
    byId("viewer-problem").hidden = false;
  }

  /** A link to the file itself. */
  #offerOriginal(photo) {
    const { path, url } = photo;
    const link = byId("viewer-original");
    link.href = api.photoAddress(url);
    link.download = path.split("/").pop();
    link.onclick = (event) => {
      if (!api.key.get() || link.href.startsWith("blob:")) return;
      event.preventDefault(); // a link sends no key
      api.original(url).then(
        (bytes) => {
          if (photo !== this.#shown) return; // the link is another photo's by now
          link.href = URL.createObjectURL(bytes);
          link.click();
        },
        () => photo === this.#shown && this.#problem("The original cannot be loaded."),
      );
    };
  }
}
