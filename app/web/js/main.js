// The page: puts its parts together. Each part is a module of its own; this one only connects them.

import { AddPhotos } from "./add.js";
import { Address } from "./address.js";
import * as api from "./api.js";
import { Surface } from "./canvas.js";
import { byId, painted, plural } from "./dom.js";
import { Filters } from "./filters.js";
import { GalleryState } from "./gallery.js";
import { Grid } from "./grid.js";
import { startIntake } from "./intake.js";
import { startKeys } from "./keys.js";
import { Judged } from "./judged.js";
import { nameOf } from "./names.js";
import { drawByKeys, drawByPointer } from "./pens.js";
import { acceptPhotos } from "./photo_drops.js";
import { filtersPart, judgedPart, orderPart, photoPart, similarPart, sketchPart, wordsPart } from "./query_parts.js";
import { ResultsView } from "./results_view.js";
import { announce, toast } from "./say.js";
import { Search } from "./search.js";
import { startSelection } from "./selection.js";
import * as states from "./states.js";
import { startTheme } from "./theme.js";
import { showTimings } from "./timings.js";
import { startTools } from "./tools.js";
import { Viewer } from "./viewer/viewer.js";
import { WantedPhoto } from "./wanted_photo.js";
import { Words } from "./words.js";

const AFTER_PEN = 40; // ms of quiet before a search once the pen is lifted
const RETRY = 2500; // ms, where the service does not say

startTheme();
const surface = new Surface(byId("canvas"));
drawByKeys(byId("canvas"), byId("caret"), surface);
drawByPointer(byId("canvas"), surface);
startTools(surface);
startKeys();
startIntake(surface);
const words = new Words();
const wanted = new WantedPhoto();
acceptPhotos(byId("paper"), (file) => wanted.take(file));
const judged = new Judged();
const search = new Search(surface, words, wanted, judged);
const grid = new Grid(byId("grid"));
const filters = new Filters();
const gallery = new GalleryState();
const add = new AddPhotos(gallery);
const viewer = new Viewer(search, words);
const view = new ResultsView(search, { filters, reranks: () => gallery.reranks });
const address = new Address(
  [
    wordsPart(words),
    filtersPart(search, filters),
    orderPart(search, showOrder),
    photoPart(wanted),
    sketchPart(surface),
    judgedPart(judged),
    similarPart(search),
  ],
  () => search.now(),
);
let penUp = 0;
const retries = { search: 0, gallery: 0 }; // timers: the two may fail apart
let stale = false; // whether the gallery changed since the results came

// Sketch to search

let sheet = surface.history.sheet;
surface.addEventListener("change", ({ detail }) => {
  // Opinions belong to the drawing that they were about.
  if (surface.history.sheet !== sheet) judged.choose({});
  sheet = surface.history.sheet;
  penUp = detail.penUp ? performance.now() : 0;
  search.soon(AFTER_PEN);
});
surface.addEventListener("resting", () => {
  penUp = 0;
  search.soon(0);
});
words.addEventListener("change", () => search.soon(0));
wanted.addEventListener("change", () => search.soon(0));

// Search to page

search.addEventListener("asked", () => byId("grid").setAttribute("aria-busy", "true"));
search.addEventListener("settled", () => byId("grid").removeAttribute("aria-busy"));

search.addEventListener("waiting", () => {
  address.write();
  clearTimeout(retries.search);
  byId("grid").classList.toggle("waiting", search.like !== null);
});

search.addEventListener("blank", () => {
  clearTimeout(retries.search);
  search.filters = {};
  filters.choose({});
  judged.choose({});
  address.write();
  grid.clear();
  begin(true);
});

search.addEventListener("faint", ({ detail: why }) => {
  address.write();
  grid.clear();
  byId("grid").classList.remove("waiting");
  view.hide();
  byId("state").replaceChildren(states.faint(why, () => search.insist()));
  delete byId("state").dataset.code;
  announce(byId("state").querySelector("h3").textContent);
});

search.addEventListener("results", async ({ detail: { results, appended } }) => {
  const { answer } = search;
  if (!appended) stale = false;
  byId("grid").classList.remove("waiting");
  byId("state").replaceChildren();
  delete byId("state").dataset.code;
  grid.show(results, search.likely, search.pages);
  view.show();
  if (appended) return;
  if (results.length === 0) {
    const said = await nothing();
    // Meanwhile other results may have come, or a problem that is said.
    if (search.answer !== answer || byId("state").hasChildNodes()) return;
    byId("state").append(said);
  }
  announce(results.length ? `${plural(results.length, "result")}, first ${nameOf(results[0])}` : "No results");
  const since = penUp;
  penUp = 0;
  await painted();
  const took = since ? performance.now() - since : 0;
  if (since) performance.measure("pen-up-to-results", { start: since, duration: took });
  showTimings(byId("timings"), answer.timings_ms, took);
});

search.addEventListener("problem", ({ detail: { problem, appending } }) => {
  byId("grid").classList.remove("waiting");
  if (words.refused(problem)) return search.now(); // without them
  if (problem.code === "unknown_photo" && !appending) return withoutGone(problem);
  if (appending) return toast(problem.message || "More results cannot be had now.");
  return tell(problem);
});

function tell(problem) {
  const passing = retryIfPassing("search", problem, () => search.refresh());
  byId("more").hidden = true;
  if (passing && search.results.length > 0) {
    // What was found stays. The problem is said once, not at every try.
    if (byId("state").dataset.code !== problem.code) byId("state").replaceChildren(states.trouble(problem, () => search.now(), unlock));
    byId("state").dataset.code = problem.code;
    return;
  }
  grid.clear();
  view.hide();
  const gone = problem.code === "unknown_tag" || problem.code === "unknown_folder"; // a filter of an older link
  byId("state").replaceChildren(
    gone ? states.nothingFound(filters.labels, () => filters.reset()) : states.trouble(problem, () => search.now(), unlock),
  );
}

/** Searches again without the photos of an older link, or of another tab, that are no longer there. */
async function withoutGone(problem) {
  if (search.like && (await api.isGone(search.like.photo_id))) {
    toast("The photo that the others were like is no longer there.");
    return search.backToSketch();
  }
  const gone = await judged.dropGone();
  if (gone === 0) return tell(problem);
  toast(gone === 1 ? "A photo that refined this search is no longer there." : `${gone} photos that refined this search are no longer there.`);
  return search.now();
}

async function nothing() {
  await gallery.refresh();
  if (gallery.photos === 0) return states.emptyGallery(gallery, () => add.open());
  return states.nothingFound(filters.labels, () => filters.reset());
}

// What the controls do

function showOrder() {
  for (const button of byId("order").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.order === search.order));
  }
}
for (const button of byId("order").querySelectorAll("button")) {
  button.addEventListener("click", () => {
    search.order = button.dataset.order;
    showOrder();
    search.now();
  });
}
filters.addEventListener("change", () => {
  search.filters = filters.values;
  search.now();
});
const resultOf = (photoId) => search.results.find((result) => result.photo_id === photoId);
const similar = (result) => {
  search.similarTo(result);
  byId("results").scrollIntoView({ block: "nearest" });
};
grid.addEventListener("open", ({ detail }) => viewer.open(detail));
grid.verdictOf = (photoId) => judged.of(photoId);
grid.addEventListener("judge", ({ detail: { photoId, verdict } }) => judged.judge(photoId, verdict));
judged.follow(viewer);
judged.addEventListener("change", () => {
  grid.refresh();
  search.now();
});
grid.addEventListener("similar", ({ detail }) => similar(resultOf(detail)));
viewer.addEventListener("similar", ({ detail }) => similar(detail));
viewer.addEventListener("closed", ({ detail }) => grid.focus(detail));
startSelection(grid, resultOf, gallery);
byId("back-to-sketch").addEventListener("click", () => search.backToSketch());

// The gallery

gallery.addEventListener("change", () => {
  filters.tags = gallery.tags;
  toast(`The gallery now holds ${plural(gallery.photos, "photo")}.`);
  if (!search.answer) return begin();
  stale = true;
  return followGallery();
});
grid.addEventListener("selected", followGallery);

/** Shows what changed in the gallery. What is selected, and what lies around it, stays until nothing is selected. */
function followGallery() {
  if (!stale || grid.selected.size > 0) return;
  stale = false;
  if (search.answer) search.refresh();
}

gallery.addEventListener("building", () => {
  const said = byId("state").querySelector(".being-built") !== null; // what is right stays, and the focus in it
  if (gallery.photos === 0 && !search.answer && said !== Boolean(gallery.building)) begin();
});

/** Tries again by itself what may go well later; whether it does. */
function retryIfPassing(what, problem, again) {
  const passing = problem.code === "offline" || problem.status === 503 || problem.status === 429;
  clearTimeout(retries[what]);
  if (passing) retries[what] = setTimeout(again, problem.retryAfter ? problem.retryAfter * 1000 : RETRY);
  return passing;
}

/** Shows how to begin, where `nothingAsked`: what is asked for by the address, a search is about to show. */
async function begin(nothingAsked = address.isEmpty) {
  if (!search.answer) {
    byId("more").hidden = true;
    byId("results-head").hidden = true;
  }
  clearTimeout(retries.gallery);
  try {
    if (gallery.photos === null) {
      await gallery.load();
      filters.tags = gallery.tags;
      if (search.answer) view.show(); // whether there are two orders is known only now
    }
  } catch (problem) {
    if (!search.answer) byId("state").replaceChildren(states.trouble(problem, () => begin(nothingAsked), unlock));
    retryIfPassing("gallery", problem, () => begin(nothingAsked));
    return;
  }
  if (search.answer || !nothingAsked) return;
  const draw = (doodle) => surface.draw(doodle.strokes);
  byId("state").replaceChildren(gallery.photos === 0 ? states.emptyGallery(gallery, () => add.open()) : states.welcome(gallery.photos, draw));
}

function unlock() {
  byId("key").showModal();
}
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  api.key.set(byId("read-key").value.trim());
  byId("key").close();
  begin();
  if (!address.isEmpty) search.now();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address is the query's
  byId("results").focus();
});

begin();
if (!address.isEmpty) address.read().then(() => search.now());
