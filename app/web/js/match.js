// One result, large: the sketch and the photo with their correspondences, and a picture made from them beside.

import * as api from "./api.js";
import { byId, make, makeSvg, milliseconds, title } from "./dom.js";
import { moved } from "./grid.js";
import { Patches } from "./patches.js";
import { Latest } from "./query.js";

const NUMBERED = 8; // pairs with a colour and a number of their own
const LINKED = 5; // of these, so many joined by a line
const BADGE = 11; // pixels from the middle of a number to where its line begins

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;

const HELP = "Point at a part of the sketch or of the photo, or go there with Tab and the arrow keys: what it matched lights up on the other side.";
const NO_MATCHES = "This network weighs the parts of the photo without matching them to parts of the sketch: the picture beside shows where it looked.";
const BESIDE = {
  synthesis: (name) => `The sketch put together from patches of ${name}`,
  universal: () => "The sketch put together from patches of all results",
  attention: (name) => `Where the sketch as a whole looks in ${name}`,
};

export class Match extends EventTarget {
  #dialog = byId("match");
  #sketchSide = new Patches(byId("picture-sketch"));
  #photoSide = new Patches(byId("picture-photo"));
  #results = [];
  #at = 0;
  #sketch = null;
  #said = null;
  #explaining = new Latest();
  #beside = new Latest();
  #kind = "synthesis";
  #matches = null; // whether the network matches parts with parts; null: not known yet

  constructor() {
    super();
    byId("match-close").addEventListener("click", () => this.#dialog.close());
    byId("match-prev").addEventListener("click", () => this.#step(-1));
    byId("match-next").addEventListener("click", () => this.#step(1));
    byId("match-similar").addEventListener("click", () => {
      this.#dialog.close();
      this.dispatchEvent(new CustomEvent("similar", { detail: this.#result }));
    });
    this.#dialog.addEventListener("click", (event) => event.target === this.#dialog && this.#dialog.close());
    this.#dialog.addEventListener("close", () => {
      this.#explaining.cancel();
      this.#beside.cancel();
      this.dispatchEvent(new CustomEvent("closed", { detail: this.#result.photo_id }));
    });
    for (const button of byId("synthesis-kind").querySelectorAll("button")) {
      button.addEventListener("click", () => this.#showBeside(button.dataset.kind));
    }
    this.#sketchSide.addEventListener("point", ({ detail }) => this.#light("sketch_patch", detail));
    this.#photoSide.addEventListener("point", ({ detail }) => this.#light("photo_patch", detail));
    new ResizeObserver(() => this.#link()).observe(byId("pair"));
  }

  /** Opens the result `photoId` among `results`; without a sketch (null) only the photo is shown. */
  open(results, photoId, sketch) {
    this.#results = results;
    this.#sketch = sketch;
    this.#at = Math.max(0, results.findIndex((result) => result.photo_id === photoId));
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#show();
  }

  get #result() {
    return this.#results[this.#at];
  }

  #step(by) {
    this.#at = Math.min(this.#results.length - 1, Math.max(0, this.#at + by));
    this.#show();
  }

  #show() {
    const result = this.#result;
    const name = title(result.path);
    byId("match-title").textContent = name;
    byId("match-prev").disabled = this.#at === 0;
    byId("match-next").disabled = this.#at === this.#results.length - 1;
    this.#dialog.classList.toggle("alone", this.#sketch === null);
    const photo = byId("picture-photo").querySelector("img");
    photo.alt = name;
    photo.width = result.width;
    photo.height = result.height;
    const isShown = api.isShown(result.path);
    this.#offerOriginal(result, isShown);
    // A name may promise what the file is not, or a camera's JPEG be too large for this browser.
    photo.onerror = () => {
      photo.onerror = null;
      if (!isShown || result !== this.#result) return;
      this.#offerOriginal(result, false);
      this.#showPicture(photo, result, api.screenOf(result));
    };
    this.#showPicture(photo, result, api.pictureOf(result));
    this.#facts(result);
    this.dispatchEvent(new CustomEvent("shown", { detail: result.photo_id }));
    this.#said = null;
    this.#sketchSide.show([]);
    this.#photoSide.show([]);
    byId("pairs").replaceChildren();
    this.#link();
    byId("match-help").classList.remove("problem");
    byId("match-help").textContent = this.#sketch ? "Looking for what matched…" : "";
    if (this.#sketch) {
      const explained = this.#explain(result);
      // Only an explanation says whether there are matches to make a picture of, so the first picture waits for it.
      if (this.#matches === null) {
        byId("picture-synthesis").classList.add("waiting");
        explained.then(() => result === this.#result && this.#showBeside(this.#kind));
      } else this.#showBeside(this.#kind);
    }
  }

  #showPicture(photo, result, address) {
    const open = byId("match-open");
    open.href = api.photoAddress(address);
    const still = () => result === this.#result;
    api.showPhoto(photo, address, still).then(
      () => still() && (open.href = photo.src), // the same address, or the bytes that were fetched with a key
      () => still() && this.#problem("The photo cannot be loaded."),
    );
  }

  /** A link to the file itself where the browser is shown a picture of it. */
  #offerOriginal(result, isShown) {
    const { path, url } = result;
    const link = byId("match-original");
    link.hidden = isShown;
    link.href = api.photoAddress(url);
    link.download = path.split("/").pop();
    link.onclick = (event) => {
      if (!api.key.get() || link.href.startsWith("blob:")) return;
      event.preventDefault(); // a link sends no key
      api.original(url).then(
        (bytes) => {
          if (result !== this.#result) return; // the link is another photo's by now
          link.href = URL.createObjectURL(bytes);
          link.click();
        },
        () => result === this.#result && this.#problem("The original cannot be loaded."),
      );
    };
  }

  #facts(result, timings = null) {
    const rows = [["Rank", String(result.rank)]];
    const steps = moved(result);
    if (result.recall_rank) rows.push(["Rank by recall alone", steps === 0 ? `${result.recall_rank} (the same)` : String(result.recall_rank)]);
    rows.push(["Score", result.score.toFixed(3)]);
    if (typeof result.relation_score === "number") rows.push(["Relation score", result.relation_score.toFixed(3)]);
    if (typeof result.recall_score === "number") rows.push(["Recall score", result.recall_score.toFixed(3)]);
    rows.push(["File", result.path]);
    if (result.tags?.length) rows.push(["Tags", result.tags.join(", ")]);
    if (timings?.total) rows.push(["Explained in", `${milliseconds(timings.total)} ms`]);
    byId("facts").replaceChildren(...rows.map(([term, text]) => make("div", {}, make("dt", {}, term), make("dd", {}, text))));
  }

  async #explain(result) {
    try {
      const said = await this.#explaining.run((signal) => api.explain(this.#sketch, result.photo_id, signal));
      if (!said) return;
      this.#said = said;
      const picture = byId("picture-sketch").querySelector("img");
      picture.src = said.sketch_image;
      await picture.decode().catch(() => {});
      this.#facts(result, said.timings_ms);
      this.#showPairs(said);
    } catch (problem) {
      this.#problem(problem.message || "This match cannot be explained now.");
    }
  }

  #problem(text) {
    byId("match-help").textContent = text;
    byId("match-help").classList.add("problem");
  }

  #showPairs(said) {
    const percent = (pair) => `${Math.round(100 * pair.weight)} %`;
    const strength = (pair) => `strength ${percent(pair)}`;
    const where = (patch) => `row ${Math.floor(patch / said.grid) + 1}, column ${(patch % said.grid) + 1}`;
    const side = (mine, other, box, name, otherName) => {
      const patches = new Map();
      for (const pair of said.correspondences) {
        const known = patches.get(pair[mine]);
        if (known && known.weight >= pair.weight) continue;
        const label = `${name} ${where(pair[mine])}: matches ${otherName} ${where(pair[other])}, ${strength(pair)}`;
        patches.set(pair[mine], { index: pair[mine], box: pair[box], weight: pair.weight, label });
      }
      return [...patches.values()];
    };
    this.#sketchSide.show(side("sketch_patch", "photo_patch", "sketch_box", "Sketch", "photo"));
    this.#photoSide.show(side("photo_patch", "sketch_patch", "photo_box", "Photo", "sketch"));
    const strongest = this.#strongest();
    this.#sketchSide.mark(new Map(strongest.map((pair, i) => [pair.sketch_patch, i + 1])));
    this.#photoSide.mark(new Map(strongest.map((pair, i) => [pair.photo_patch, i + 1])));
    this.#matches = said.matches;
    if (!this.#matches) this.#kind = "attention";
    for (const button of byId("synthesis-kind").querySelectorAll("button")) button.hidden = !this.#matches && button.dataset.kind !== "attention";
    byId("match-help").textContent = !this.#matches ? NO_MATCHES : strongest.length ? HELP : "No part of the sketch matched a part of this photo.";
    byId("pairs").replaceChildren(
      ...strongest.map((pair, i) => {
        const number = make("span", { class: "number" }, String(i + 1));
        const spoken = make("span", { class: "sr" }, "Pair ");
        const button = make("button", { type: "button", dataset: { pair: i + 1 } }, spoken, number, ` ${percent(pair)}`);
        if (Math.abs(pair.contribution) >= 0.0005) button.append(" ", make("small", {}, signed(pair.contribution)));
        const places = `sketch ${where(pair.sketch_patch)}, photo ${where(pair.photo_patch)}`;
        button.append(make("span", { class: "sr" }, `: ${places}`));
        button.title = "Strength of the match, and what it adds to the relation logit";
        const on = () => this.#lightPair(pair);
        const off = () => this.#light("sketch_patch", null);
        button.addEventListener("pointerenter", on);
        button.addEventListener("focus", on);
        button.addEventListener("click", on);
        button.addEventListener("pointerleave", off);
        button.addEventListener("blur", off);
        return make("li", {}, button);
      }),
    );
    this.#link();
  }

  /** The pairs that get a number: mutual best matches, so that no patch has two. */
  #strongest() {
    const all = this.#said?.correspondences ?? [];
    return all.filter((pair) => pair.mutual).slice(0, NUMBERED);
  }

  #lightPair(pair) {
    this.#sketchSide.light(new Map([[pair.sketch_patch, 1]]));
    this.#photoSide.light(new Map([[pair.photo_patch, 1]]));
    this.#link([pair]);
  }

  /** Lights everything that one patch matched; `patch` null: back to the numbered pairs. */
  #light(mine, patch) {
    const pairs = patch ? this.#said.correspondences.filter((pair) => pair[mine] === patch.index) : [];
    const most = Math.max(...pairs.map((pair) => pair.weight));
    const other = mine === "sketch_patch" ? "photo_patch" : "sketch_patch";
    const here = new Map(patch ? [[patch.index, 1]] : []);
    const there = new Map(pairs.map((pair) => [pair[other], pair.weight / most]));
    const [sketch, photo] = mine === "sketch_patch" ? [here, there] : [there, here];
    this.#sketchSide.light(sketch);
    this.#photoSide.light(photo);
    this.#link(patch ? pairs.filter((pair) => pair.weight === most).slice(0, 1) : undefined);
  }

  #link(pairs = this.#strongest().slice(0, LINKED)) {
    const frame = byId("pair");
    const all = this.#strongest();
    const lines = pairs.flatMap((pair) => {
      const from = this.#sketchSide.place(pair.sketch_patch, frame);
      const to = this.#photoSide.place(pair.photo_patch, frame);
      if (!from || !to) return [];
      from.x += BADGE;
      to.x -= BADGE;
      const bend = (to.x - from.x) * 0.4;
      const d = `M${from.x},${from.y}C${from.x + bend},${from.y} ${to.x - bend},${to.y} ${to.x},${to.y}`;
      const number = all.indexOf(pair) + 1 || 5;
      return [makeSvg("path", { d, class: "casing" }), makeSvg("path", { d, "data-pair": number })];
    });
    byId("links").replaceChildren(...lines);
  }

  async #showBeside(kind) {
    this.#kind = kind;
    for (const button of byId("synthesis-kind").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
    }
    const picture = byId("picture-synthesis");
    const image = picture.querySelector("img");
    picture.classList.add("waiting");
    image.removeAttribute("src");
    image.alt = BESIDE[kind](title(this.#result.path));
    const among = kind === "universal" ? this.#results.slice(0, 20).map((result) => result.photo_id) : undefined;
    const format = kind === "universal" ? "synthesis" : kind;
    try {
      const blob = await this.#beside.run((signal) => api.explainPicture(this.#sketch, this.#result.photo_id, format, among, signal));
      if (!blob) return;
      image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
      image.src = URL.createObjectURL(blob);
    } catch {
      image.alt = "This picture cannot be drawn now";
    }
    picture.classList.remove("waiting");
  }
}
