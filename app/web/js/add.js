// Adding photos to the gallery: drop or choose them, give the write key, watch them go; what was added can be opened and
// deleted again.

import * as api from "./api.js";
import { byId, make, plural } from "./dom.js";
import { acceptDrops } from "./intake.js";

// Reasons that hold for every file, in words for whoever looks at this page. Those of the key are said beside the key.
const ADVICE = {
  offline: "The service does not answer. Check that it runs, then send again.",
  writes_disabled: "This service takes no photos from its page. Whoever runs it can allow that by setting a write key.",
};
export const KEY_ADVICE = {
  write_key_required: "This key may look but not change the gallery. Enter the write key.",
  key_required: "This is not the write key. Check it with whoever runs the service.",
};
const AGAIN = 800; // ms between two looks at photos that are being added

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
    byId("write-key").addEventListener("input", () => {
      this.#sayOfKey("");
      this.#update();
    });
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
      this.#say("");
      this.#sayOfKey("");
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
      const row = make("li", {}, image, make("span", { class: "add-name" }, file.name), status);
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
    const before = api.key.get();
    api.key.set(byId("write-key").value.trim());
    this.#busy = true;
    this.#say("");
    this.#update();
    const outcomes = { added: 0, known: 0 };
    let stopped = false; // by a problem that is said, and must stay so
    for (const entry of this.#files.filter((one) => !one.done)) {
      entry.status.textContent = "sending…";
      entry.status.classList.remove("bad");
      try {
        const known = await this.#add(entry);
        outcomes[known ? "known" : "added"] += 1;
      } catch (problem) {
        entry.status.textContent = problem.code in ADVICE || problem.code in KEY_ADVICE ? "not added" : `not added: ${problem.message}`;
        entry.status.classList.add("bad");
        if (problem.code in KEY_ADVICE) {
          api.key.set(before); // the key that was good for looking stays
          this.#sayOfKey(KEY_ADVICE[problem.code]);
          stopped = true;
          break;
        }
        if (problem.code in ADVICE) {
          this.#say(ADVICE[problem.code], true);
          stopped = true;
          break;
        }
      }
    }
    this.#busy = false;
    this.#update();
    const said = [];
    if (outcomes.added > 0) said.push(`${plural(outcomes.added, "photo")} added.`);
    if (outcomes.known > 0) said.push(`${plural(outcomes.known, "photo was", "photos were")} already there.`);
    if (said.length > 0 && !stopped) this.#say(said.join(" "));
    if (outcomes.added > 0) await this.#gallery.refresh();
  }

  /** Sends one file; whether the gallery had it already. */
  async #add(entry) {
    let job = await api.addPhoto(entry.file);
    while (job.status === "running") {
      entry.status.textContent = "being added…";
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
      job = await api.job(job.job_id);
    }
    entry.done = true; // until here, it may be sent again: a photo that is there already stays one
    const [photo] = job.photos;
    if (job.status === "failed" || !photo) throw new api.Problem({ code: job.code ?? "failed", detail: job.refused[0]?.detail ?? "" });
    entry.status.replaceChildren(photo.known ? "already there" : "added", ...this.#actions(entry, photo));
    return photo.known;
  }

  /** What can be done with a photo once it is there: open it; delete it again, where it was not there before. */
  #actions(entry, photo) {
    const open = make("a", { class: "link", target: "_blank", rel: "noopener" }, "Open");
    open.setAttribute("aria-label", `Open ${entry.file.name}`);
    // The file itself lies here, so that no key is needed to see it.
    open.href = URL.createObjectURL(entry.file);
    if (photo.known) return [open];
    const remove = make("button", { type: "button", class: "link danger" }, "Delete");
    remove.setAttribute("aria-label", `Delete ${entry.file.name} from the gallery`);
    remove.addEventListener("click", async () => {
      remove.disabled = true;
      try {
        await api.deletePhoto(photo.photo_id);
        URL.revokeObjectURL(open.href);
        entry.status.replaceChildren("deleted again");
        this.#say(`${entry.file.name} is no longer in the gallery.`);
        byId("add-choose").focus();
        await this.#gallery.refresh();
      } catch (problem) {
        remove.disabled = false;
        this.#say((KEY_ADVICE[problem.code] ?? problem.message) || "It could not be deleted.", true);
      }
    });
    return [open, remove];
  }

  #say(text, bad = false) {
    byId("add-note").textContent = text;
    byId("add-note").classList.toggle("bad", bad);
  }

  #sayOfKey(text) {
    byId("write-key-problem").textContent = text;
    byId("write-key").setAttribute("aria-invalid", String(text !== ""));
    if (text) byId("write-key").focus();
  }
}
