// Ways a picture of a sketch comes in without drawing: a file, a drop, the clipboard, the camera.

import { byId } from "./dom.js";
import { readPicture } from "./pictures.js";
import { toast } from "./say.js";

export const isPicture = (file) => file.type.startsWith("image/") ||
  /\.(heic|heif|jxl|avif|webp|png|jpe|jpe?g|jfif|mpo|gif|bmp|dib|tiff?|dng|nef|nrw|cr2|cr3|crw|arw|sr2|srf|raf|orf|rw2|rwl|pef|srw|x3f|3fr|fff|iiq|erf|mrw|kdc|dcr|mef|mos)$/i.test(file.name);

export function startIntake(surface) {
  const take = async (file) => {
    try {
      surface.place(await readPicture(file));
    } catch {
      toast("This file cannot be read as a picture. PNG, JPEG and WebP work everywhere.");
    }
  };

  surface.addEventListener("change", () => {
    byId("link-note").hidden = !surface.history.visible().some((step) => step.kind === "image");
  });
  byId("upload").addEventListener("click", () => byId("sketch-file").click());
  for (const id of ["sketch-file", "sketch-camera"]) {
    byId(id).addEventListener("change", ({ target }) => {
      if (target.files[0]) take(target.files[0]);
      target.value = "";
    });
  }

  acceptDrops(byId("paper"), ([file]) => take(file));

  document.addEventListener("paste", (event) => {
    if (event.target.closest?.("input, dialog[open]")) return;
    const file = [...(event.clipboardData?.files ?? [])].find(isPicture);
    if (!file) return;
    event.preventDefault();
    take(file);
  });
  byId("paste").addEventListener("click", async () => {
    try {
      for (const item of await navigator.clipboard.read()) {
        const type = item.types.find((name) => name.startsWith("image/"));
        if (type) return take(await item.getType(type));
      }
      toast("The clipboard holds no picture. Copy one first.");
    } catch {
      toast("The browser keeps its clipboard to itself here. Press Ctrl V instead.");
    }
    return undefined;
  });

  byId("camera").addEventListener("click", () => {
    const touch = matchMedia("(pointer: coarse)").matches;
    if (touch || !navigator.mediaDevices?.getUserMedia) byId("sketch-camera").click();
    else openLens(surface);
  });
}

/** Lets pictures be dropped onto an element; `take` gets the files. */
export function acceptDrops(element, take) {
  let depth = 0;
  const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  element.addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth += 1;
    element.classList.add("dropping");
  });
  element.addEventListener("dragover", (event) => {
    if (carriesFiles(event)) event.preventDefault();
  });
  element.addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    element.classList.toggle("dropping", depth > 0);
  });
  element.addEventListener("drop", (event) => {
    depth = 0;
    element.classList.remove("dropping");
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    const files = [...event.dataTransfer.files].filter(isPicture);
    if (files.length > 0) take(files);
    else toast("Only pictures can be dropped here.");
  });
}

async function openLens(surface) {
  const dialog = byId("lens");
  const video = byId("lens-video");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    toast("No camera can be used here. Upload a photo of the sketch instead.");
    return;
  }
  const stop = () => stream.getTracks().forEach((track) => track.stop());
  dialog.addEventListener("close", stop, { once: true });
  video.srcObject = stream;
  dialog.showModal();
  await video.play();
  byId("lens-close").onclick = () => dialog.close();
  byId("lens-take").onclick = async () => {
    surface.place(await readPicture(video));
    dialog.close();
  };
}
