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
    this.#offerOriginal(photo);
    // A name may promise what the file is not, or a camera's JPEG be too large for this browser.
    const screen = api.screenOf(photo);
    this.#load(photo, api.isShown(photo.path) ? [photo.url, screen] : [screen]);
  }

  /** Shows the photo from the first of these addresses that has a picture. */
  #load(photo, [address, ...others]) {
    const open = byId("viewer-open");
    open.href = api.photoAddress(address);
    const failed = () => {
      if (photo !== this.#shown) return;
      if (others.length) this.#load(photo, others);
      else this.#lack();
    };
    this.#image.onerror = failed;
    api.showPhoto(this.#image, address).then((shown) => {
      if (shown) open.href = this.#image.src; // the same address, or the bytes that were fetched with a key
    }, failed);
  }

  #lack() {
    this.#image.onerror = null;
    this.#image.removeAttribute("src"); // a broken picture, or the photo before
    this.#problem("The photo cannot be loaded.");
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
