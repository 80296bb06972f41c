// What can be done with several photos of the grid at once: download them, copy their paths, delete them.

import { KEY_ADVICE } from "./add.js";
import * as api from "./api.js";
import { byId, plural } from "./dom.js";
import { toast } from "./say.js";
import { typing } from "./tools.js";

const ADVICE = {
  ...KEY_ADVICE,
  offline: "The service does not answer. Check that it runs, then try again.",
  writes_disabled: "This service deletes no photos from its page. Whoever runs it can allow that by setting a write key.",
};

/** Lets the bar act on what is selected in the `grid`; `resultOf(photoId)` is the result, `gallery` is told of deletions. */
export function startSelection(grid, resultOf, gallery) {
  const chosen = () => [...grid.selected].map(resultOf).filter(Boolean);
  const count = () => plural(grid.selected.size, "photo");
  const alike = () => chosen().reduce((sum, { duplicates }) => sum + (duplicates?.length ?? 0), 0); // stay out of it
  grid.addEventListener("selected", () => {
    byId("selection").hidden = grid.selected.size === 0;
    byId("selection-count").textContent = `${count()} selected${alike() > 0 ? `, ${alike()} near-identical left out` : ""}`;
    byId("deletion-title").textContent = `Delete ${count()}?`;
    byId("deletion-alike").hidden = alike() === 0;
    byId("deletion-alike").textContent = `Only the photos that are shown are deleted. ${alike() === 1 ? "1 near-identical one stays" : `${alike()} near-identical ones stay`}.`;
  });
  byId("selection-none").addEventListener("click", () => {
    grid.unselect();
    grid.focus(undefined, { preventScroll: true }); // the button is gone
  });
  byId("selection-copy").addEventListener("click", () => copy(chosen().map(({ path }) => path)));
  byId("selection-download").addEventListener("click", async ({ currentTarget: button }) => {
    button.disabled = true;
    try {
      save(await api.archive(chosen().map(({ photo_id: id }) => id)));
    } catch (problem) {
      toast(problem.message || "These photos could not be downloaded.");
    }
    button.disabled = false;
  });
  startDeletion(chosen, grid, gallery);
}

async function copy(paths) {
  try {
    await navigator.clipboard.writeText(paths.join("\n"));
    toast(paths.length === 1 ? "Copied the path." : `Copied ${paths.length} paths.`);
  } catch {
    toast("The browser keeps its clipboard to itself here.");
  }
}

function save(blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = "photos.zip";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function startDeletion(chosen, grid, gallery) {
  const dialog = byId("deletion");
  const say = (text) => (byId("deletion-problem").textContent = text);
  const open = () => {
    byId("deletion-key").value = api.key.get();
    say("");
    dialog.showModal();
    byId(byId("deletion-key").value ? "deletion-keep" : "deletion-key").focus();
  };
  byId("selection-delete").addEventListener("click", open);
  document.addEventListener("keydown", ({ key, target, ctrlKey, metaKey, altKey }) => {
    if (key !== "Delete" || ctrlKey || metaKey || altKey || grid.selected.size === 0) return;
    if (!typing(target) || target.matches(".card-select")) open();
  });
  for (const id of ["deletion-close", "deletion-keep"]) byId(id).addEventListener("click", () => dialog.close());
  byId("deletion-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const before = api.key.get();
    api.key.set(byId("deletion-key").value.trim());
    byId("deletion-send").disabled = true;
    let gone = 0;
    try {
      for (const { photo_id: id } of chosen()) {
        await deleted(id);
        grid.selected.delete(id);
        gone += 1;
      }
      grid.unselect();
      dialog.close();
      grid.focus(); // the button that opened the dialog is gone
      toast(`Deleted ${plural(gone, "photo")}.`);
    } catch (problem) {
      if (gone === 0) api.key.set(before); // the key that was good for looking stays
      const why = ADVICE[problem.code] ?? (problem.message || "It could not be done.");
      say(`${gone > 0 ? `${plural(gone, "photo")} deleted, then it stopped. ` : ""}${why}`);
      grid.changed();
    }
    byId("deletion-send").disabled = false;
    if (gone > 0) await gallery.refresh();
  });
}

/** Deletes a photo, unless somebody else did so before. */
async function deleted(photoId) {
  try {
    await api.deletePhoto(photoId);
  } catch (problem) {
    if (problem.code !== "unknown_photo") throw problem;
  }
}
