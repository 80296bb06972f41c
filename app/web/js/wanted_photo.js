// A photo as part of the query: what is wanted looks like it.
//
// Event: "change".

import { byId } from "./dom.js";
import { isPicture } from "./intake.js";
import { bitmapOf, blobOf, readPicture } from "./pictures.js";
import { toast } from "./say.js";

export class WantedPhoto extends EventTarget {
  /** What is sent, or null without a photo. */
  file = null;
  /** The name that this tab keeps it by; null where it cannot be kept. */
  kept = null;

  constructor() {
    super();
    byId("wanted-choose").addEventListener("click", () => byId("wanted-file").click());
    byId("wanted-file").addEventListener("change", ({ target }) => {
      if (target.files[0]) this.take(target.files[0]);
      target.value = "";
    });
    byId("wanted-remove").addEventListener("click", () => {
      this.#set(null, null);
      byId("wanted-choose").focus();
      this.dispatchEvent(new Event("change"));
    });
  }

  /** Searches with this file. One that the browser cannot read is sent as it is. */
  async take(file) {
    try {
      const { text, kept } = await readPicture(file);
      this.#set(blobOf(text), kept);
    } catch {
      if (!isPicture(file)) return toast("This file is no photo.");
      this.#set(file, null);
    }
    return this.dispatchEvent(new Event("change"));
  }

  /** Shows the photo of a kept text as chosen, and tells nobody. False where it cannot be read. */
  async restore(text, kept) {
    const readable = text !== null && (await bitmapOf(text)) !== null;
    this.#set(readable ? blobOf(text) : null, readable ? kept : null);
    return readable;
  }

  #set(file, kept) {
    const image = byId("wanted-picture");
    if (image.src) URL.revokeObjectURL(image.src);
    this.file = file;
    this.kept = kept;
    byId("wanted").hidden = file === null;
    byId("wanted-choose").setAttribute("aria-pressed", String(file !== null));
    if (file) image.src = URL.createObjectURL(file);
    else image.removeAttribute("src");
  }
}
