// The numbers and the names behind the open photo: where its file is, and how it was scored.

import { byId, make, plural } from "../dom.js";
import { toast } from "../say.js";
import { worthShowing } from "./matches.js";
import { partNames } from "./reasons.js";

const decimals = (value) => value.toFixed(3);
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
const isNumber = (value) => typeof value === "number";

/** Event: "toggle". */
export class Details extends EventTarget {
  panel = byId("viewer-details");
  #button = byId("viewer-more");
  #path = "";

  constructor() {
    super();
    this.#button.addEventListener("click", () => this.toggle());
    byId("copy-path").addEventListener("click", () => this.#copy());
  }

  get isOpen() {
    return !this.panel.hidden;
  }

  toggle(open = !this.isOpen) {
    this.panel.hidden = !open;
    this.#button.setAttribute("aria-expanded", String(open));
    this.dispatchEvent(new Event("toggle"));
  }

  /** Shows a photo's; `said` is its explanation, where there is one. */
  show(photo, asked, said = null) {
    this.#path = photo.path;
    byId("viewer-path").textContent = photo.path;
    const rows = [...aboutPhoto(photo), ...aboutScore(photo), ...aboutParts(photo, asked), ...aboutMatches(said)];
    byId("facts").replaceChildren(...rows.map(([term, text]) => make("div", {}, make("dt", {}, term), make("dd", {}, text))));
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.#path);
    } catch {
      // Without https, a browser gives no page its clipboard.
      getSelection().selectAllChildren(byId("viewer-path"));
      return toast("Your browser does not let this page copy. The path is selected: press Ctrl C.");
    }
    return toast("The path is copied.");
  }
}

function aboutPhoto({ tags, width, height, taken }) {
  const rows = [];
  if (tags?.length) rows.push(["Tags", tags.join(", ")]);
  if (width && height) rows.push(["Size", `${width} × ${height} pixels`]);
  if (taken) rows.push(["Taken", taken.replace("T", " ")]);
  return rows;
}

function aboutScore(photo) {
  const rows = [["Place", String(photo.rank)]];
  if (photo.recall_rank) rows.push(["Place by the first stage alone", String(photo.recall_rank)]);
  rows.push(["Score", decimals(photo.score)]);
  if (isNumber(photo.relation_score)) rows.push(["Relation score", decimals(photo.relation_score)]);
  if (isNumber(photo.recall_score)) rows.push(["Recall score", decimals(photo.recall_score)]);
  return rows;
}

function aboutParts({ contributions = {} }, asked) {
  const names = partNames(asked);
  return Object.entries(contributions).map(([part, share]) => [`of which ${names[part] ?? part}`, signed(share)]);
}

function aboutMatches(said) {
  if (!said?.matches) return [];
  const shown = worthShowing(said);
  const rows = shown.map((pair, i) => [`Match ${i + 1}`, `weight ${decimals(pair.weight)}, adds ${signed(pair.contribution)} to the relation`]);
  const others = said.correspondences.length - shown.length;
  return others > 0 ? [...rows, ["Not shown", plural(others, "weaker match", "weaker matches")]] : rows;
}
