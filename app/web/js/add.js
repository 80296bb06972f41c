// Adding photos to the gallery: drop or choose them, give the write key, watch them go.

import * as api from "./api.js";
import { byId, make, plural } from "./dom.js";
import { acceptDrops } from "./intake.js";

// Reasons that hold for every file, in words for whoever looks at this page.
const ADVICE = {
  offline: "The service does not answer. Check that it runs, then send again.",
  writes_disabled: "Adding photos is off. Start the service with SKETCHSEEK_WRITE_KEY set to allow it.",
  write_key_required: "This key may look but not add. Enter the write key.",
  key_required: "This is not the write key. Check it with whoever runs the service.",
};

export class AddPhotos {
  #dialog = byId("add");
  #gallery;
  #files = [];
  #busy = false;

  constructor(gallery) {
    this.#gallery = gallery;
    byId("open-add").addEventListener("click", () => this.open());
    byId("add-close").addEventListener("click", () => this.#dialog.close());
    byId("add-choose").addEventListener("click", () => byId("add-files").click());
    byId("add-files").addEventListener("change", ({ target }) => {
      this.#take([...target.files]);
      target.value = "";
    });
    byId("write-key").addEventListener("input", () => this.#update());
    acceptDrops(byId("add-zone"), (files) => this.#take(files));
    acceptDrops(byId("results"), (files) => this.open(files));
    byId("add-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
  }

  open(files = []) {
    byId("write-key").value = api.key.get();
    if (!this.#busy) {
      this.#files = this.#files.filter((entry) => !entry.done);
      byId("add-list").replaceChildren(...this.#files.map((entry) => entry.row));
      byId("add-note").textContent = "";
    }
    this.#take(files);
    if (!this.#dialog.open) this.#dialog.showModal();
    byId(byId("write-key").value ? "add-choose" : "write-key").focus();
  }

  #take(files) {
    for (const file of files) {
      const image = make("img", { alt: "", src: URL.createObjectURL(file) });
      image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
      const status = make("span", { class: "outcome" });
      const row = make("li", {}, image, make("span", {}, file.name), status);
      this.#files.push({ file, row, status, done: false });
      byId("add-list").append(row);
    }
    this.#update();
  }

  #update() {
    const waiting = this.#files.filter((entry) => !entry.done).length;
    const button = byId("add-send");
    button.disabled = this.#busy || waiting === 0 || byId("write-key").value.trim() === "";
    button.textContent = waiting > 1 ? `Add ${plural(waiting, "photo")}` : "Add to the gallery";
  }

  async #send() {
    api.key.set(byId("write-key").value.trim());
    this.#busy = true;
    this.#update();
    let added = 0;
    for (const entry of this.#files.filter((one) => !one.done)) {
      entry.status.textContent = "sending…";
      entry.status.classList.remove("bad");
      try {
        const job = await api.addPhoto(entry.file);
        entry.done = true;
        entry.status.textContent = job.status === "done" ? "added" : "being added";
        added += 1;
      } catch (problem) {
        entry.status.textContent = "not added";
        entry.status.classList.add("bad");
        byId("add-note").textContent = ADVICE[problem.code] ?? problem.message;
        if (problem.code in ADVICE) break;
      }
    }
    this.#busy = false;
    this.#update();
    if (added > 0) {
      byId("add-note").textContent = `${plural(added, "photo")} added. They can be found in a moment.`;
      await this.#gallery.refresh();
    }
  }
}
