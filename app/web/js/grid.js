// The grid of results. Cards are kept by photo id, so that a photo that stays is seen to move.

import { showPhoto } from "./api.js";
import { calm, icon, make, title } from "./dom.js";
import { nameOf } from "./names.js";

const shape = ({ width, height }) => Math.min(1.9, Math.max(0.62, width && height ? width / height : 1));
const decimals = (value) => (value === null || value === undefined ? null : value.toFixed(3));

/** Why a result stands where it stands, in words: what each stage said, and how far the second moved it. */
export function moved(result) {
  if (!result.recall_rank || result.relation_score === null || result.relation_score === undefined) return 0;
  return result.recall_rank - result.rank;
}

const JUDGES = { like: "More of this", unlike: "Less of this" };

export class Grid extends EventTarget {
  verdictOf = () => null; // of a photo id: "like", "unlike" or null
  #list;
  #cards = new Map();

  constructor(list) {
    super();
    this.#list = list;
  }

  /** Shows these results, in this order. */
  show(results, likesOnly = false) {
    const before = this.#places();
    const kept = new Map();
    for (const result of results) {
      const card = this.#cards.get(result.photo_id) ?? this.#card(result);
      kept.set(result.photo_id, card);
      this.#fill(card, result, likesOnly);
    }
    for (const [id, card] of this.#cards) if (!kept.has(id)) card.remove();
    this.#cards = kept;
    let place = null;
    for (const card of kept.values()) {
      const next = place ? place.nextElementSibling : this.#list.firstElementChild;
      if (next !== card) this.#list.insertBefore(card, next);
      place = card;
    }
    this.#slide(before);
  }

  clear() {
    this.show([]);
  }

  focus(photoId) {
    this.#cards.get(photoId)?.querySelector(".card-open").focus();
  }

  #card(result) {
    const image = make("img", { alt: "", loading: "lazy", decoding: "async", width: result.width, height: result.height });
    image.addEventListener("error", () => image.classList.add("failed"));
    showPhoto(image, result.thumbnail_url).catch(() => image.classList.add("failed"));
    const open = make("button", { type: "button", class: "card-open" }, image);
    const similar = make("button", { type: "button", class: "card-action card-similar", title: "More like this" }, icon("similar"));
    const judges = Object.entries(JUDGES).map(([verdict, title]) => {
      const button = make("button", { type: "button", class: "card-action judge", title, dataset: { verdict } }, icon(verdict));
      button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("judge", { detail: { photoId: result.photo_id, verdict } })));
      return button;
    });
    const actions = make("div", { class: "card-actions" }, ...judges, similar);
    const frame = make("div", { class: "card-frame" }, open, make("span", { class: "card-count", attributes: { "aria-hidden": "true" } }));
    const card = make("li", { class: "card", dataset: { photo: result.photo_id } }, frame, actions, make("div", { class: "card-facts" }));
    card.style.setProperty("--shape", shape(result));
    open.addEventListener("click", () => this.#tell("open", result.photo_id));
    similar.addEventListener("click", () => this.#tell("similar", result.photo_id));
    return card;
  }

  #tell(name, photoId) {
    this.dispatchEvent(new CustomEvent(name, { detail: photoId }));
  }

  #fill(card, result, likesOnly) {
    const name = nameOf(result);
    const alike = result.count > 1 ? `${result.count} alike` : "";
    card.querySelector(".card-open").setAttribute("aria-label", [`${result.rank}. ${name}`, alike].filter(Boolean).join(", "));
    card.querySelector(".card-count").textContent = alike;
    card.querySelector(".card-count").hidden = !alike;
    card.querySelector(".card-open").title = name;
    card.querySelector(".card-similar").setAttribute("aria-label", `More like ${name}`);
    for (const button of card.querySelectorAll(".judge")) {
      button.setAttribute("aria-label", `${JUDGES[button.dataset.verdict]}: ${name}`);
      button.setAttribute("aria-pressed", String(this.verdictOf(result.photo_id) === button.dataset.verdict));
    }
    const steps = moved(result);
    const meter = make("meter", { min: 0, max: 1, value: Math.max(0, Math.min(1, result.score)) });
    meter.setAttribute("aria-label", `Score of ${name}`);
    const stages = [];
    if (decimals(result.relation_score)) stages.push(make("span", {}, `relation ${decimals(result.relation_score)}`));
    if (decimals(result.recall_score)) stages.push(make("span", {}, `recall ${decimals(result.recall_score)}`));
    if (!likesOnly && steps !== 0) {
      const said = steps > 0 ? `▲ ${steps}` : `▼ ${-steps}`;
      const words = `${steps > 0 ? "up" : "down"} ${Math.abs(steps)} from recall`;
      stages.unshift(make("span", { class: "moved", title: words }, said));
    }
    card.querySelector(".card-facts").replaceChildren(
      make("p", { class: "card-name" }, title(result.path)),
      make("p", { class: "card-score" }, decimals(result.score), meter),
      make("p", { class: "card-stages" }, ...stages),
    );
  }

  #places() {
    if (calm()) return new Map();
    const places = new Map();
    for (const [id, card] of this.#cards) places.set(id, { x: card.offsetLeft, y: card.offsetTop });
    return places;
  }

  #slide(before) {
    for (const [id, card] of this.#cards) {
      const place = before.get(id);
      if (!place) continue;
      const x = place.x - card.offsetLeft;
      const y = place.y - card.offsetTop;
      if (x === 0 && y === 0) continue;
      card.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], {
        duration: 280,
        easing: "cubic-bezier(0.2, 0.7, 0.3, 1)",
      });
    }
  }
}
