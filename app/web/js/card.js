// One photo of the grid: a link to the photo, with what can be done about it. No numbers; they are in the table of details.

import { isShown, key, original, photoAddress, pictureOf, showPhoto } from "./api.js";
import { icon, make } from "./dom.js";
import { nameOf } from "./names.js";
import { toast } from "./say.js";

export const PHOTO_TYPE = "application/x-sketchseek-photo"; // of what is dragged from the grid: a result as JSON

const JUDGES = { like: "More of this", unlike: "Less of this" };
const shape = ({ width, height }) => Math.min(1.9, Math.max(0.62, width && height ? width / height : 1));

/** A card for this result. `tell(name, detail)` says what is done: "open", "similar", "judge" or "select". */
export function makeCard(result, tell) {
  const { photo_id: photoId } = result;
  const image = make("img", { alt: "", loading: "lazy", decoding: "async", draggable: false, width: result.width, height: result.height });
  image.addEventListener("error", () => image.classList.add("failed"));
  showPhoto(image, result.thumbnail_url).catch(() => image.classList.add("failed"));
  const open = make("a", { class: "card-open", href: photoAddress(pictureOf(result)).href, draggable: true }, image);
  open.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return openElsewhere(event, result);
    event.preventDefault();
    tell("open", photoId);
  });
  open.addEventListener("auxclick", (event) => event.button === 1 && openElsewhere(event, result));
  open.addEventListener("dragstart", ({ dataTransfer }) => carry(dataTransfer, result, image));
  const action = (name, label, act) => {
    const button = make("button", { type: "button", class: `card-action ${name}`, title: label }, icon(name.split(" ").at(-1)));
    button.addEventListener("click", act);
    return button;
  };
  const select = make("input", { type: "checkbox", class: "card-select" });
  select.addEventListener("click", ({ shiftKey }) => tell("select", { photoId, chosen: select.checked, through: shiftKey }));
  const judges = Object.entries(JUDGES).map(([verdict, label]) => {
    const button = action(`judge ${verdict}`, label, () => tell("judge", { photoId, verdict }));
    button.dataset.verdict = verdict;
    return button;
  });
  const count = make("span", { class: "card-count", attributes: { "aria-hidden": "true" } });
  const similar = action("card-similar similar", "More like this", () => tell("similar", photoId));
  const card = make("li", { class: "card", dataset: { photo: photoId } }, open, count, select, make("div", { class: "card-actions" }, ...judges, similar));
  card.style.setProperty("--shape", shape(result));
  return card;
}

/** Writes what may change: the rank, how many are alike, the verdict ("like", "unlike" or null), and whether it is selected. */
export function fillCard(card, result, verdict, selected) {
  const name = nameOf(result);
  const alike = result.count > 1 ? `${result.count} alike` : "";
  card.querySelector(".card-open").setAttribute("aria-label", [`${result.rank}. ${name}`, alike].filter(Boolean).join(", "));
  card.querySelector(".card-count").textContent = alike;
  card.querySelector(".card-count").hidden = !alike;
  card.querySelector(".card-open").title = name;
  card.querySelector(".card-similar").setAttribute("aria-label", `More like ${name}`);
  card.querySelector(".card-select").setAttribute("aria-label", `Select ${name}`);
  card.querySelector(".card-select").checked = selected;
  card.classList.toggle("selected", selected);
  for (const button of card.querySelectorAll(".judge")) {
    button.setAttribute("aria-label", `${JUDGES[button.dataset.verdict]}: ${name}`);
    button.setAttribute("aria-pressed", String(verdict === button.dataset.verdict));
  }
}

/** Lets Tab stop at this card, or pass over it. */
export function stopAt(card, stops) {
  for (const part of card.querySelectorAll("a, button, input")) part.tabIndex = stops ? 0 : -1;
}

/** What a drag carries: the photo's file for the desktop, its address for a page, and the result for our own paper. */
function carry(data, result, image) {
  const address = photoAddress(result.url).href;
  data.effectAllowed = "copyLink";
  data.setData("text/uri-list", address);
  data.setData("text/plain", address);
  data.setData(PHOTO_TYPE, JSON.stringify({ photo_id: result.photo_id, path: result.path, url: result.url }));
  if (image.complete) data.setDragImage(image, 20, 20);
  if (key.get()) return; // the browser would fetch the file without it
  const type = isShown(result.path) ? "image/*" : "application/octet-stream";
  data.setData("DownloadURL", `${type}:${result.path.split("/").pop().replaceAll(":", "_")}:${address}`);
}

/** The browser opens a link in another tab or window by itself, but sends no key. */
async function openElsewhere(event, result) {
  if (!key.get()) return;
  event.preventDefault();
  const tab = window.open(); // at once: after a wait, the browser would take it for an advertisement
  try {
    tab.location.replace(URL.createObjectURL(await original(pictureOf(result))));
  } catch {
    tab?.close();
    toast("The photo cannot be opened.");
  }
}
