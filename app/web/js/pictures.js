// Pictures of sketches: read from a file, made small enough to keep, and found again.

import { WHITE } from "./ink.js";
import { PAPER } from "./history.js";
import { keep } from "./kept.js";

const LONGEST = 1024; // pixels: twice the paper's units, as sharp as a dense screen shows it
const QUALITY = 0.9; // of WebP

/**
 * A picture on white, so that transparent drawings keep their lines: as bitmap, as text, and the name that the text is kept by
 * (null where it cannot be).
 * What is shown and searched is what is kept, so a reload finds the same photos.
 */
export async function readPicture(source) {
  const bitmap = await createImageBitmap(source);
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  const side = (pixels) => Math.max(1, Math.round(pixels * scale));
  const canvas = new OffscreenCanvas(side(bitmap.width), side(bitmap.height));
  const context = canvas.getContext("2d");
  context.fillStyle = WHITE;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const text = await textOf(await canvas.convertToBlob({ type: "image/webp", quality: QUALITY }));
  return { bitmap: await bitmapOf(text), text, kept: keep(text) };
}

/** A picture in the middle of the paper, as large as it fits. */
export function pictureStep(bitmap, kept) {
  const scale = Math.min(PAPER / bitmap.width, PAPER / bitmap.height);
  const width = bitmap.width * scale;
  const height = bitmap.height * scale;
  return { kind: "image", bitmap, kept, x: (PAPER - width) / 2, y: (PAPER - height) / 2, width, height };
}

/** The picture of a kept text; null where there is none. */
export async function bitmapOf(text) {
  try {
    return await createImageBitmap(blobOf(text));
  } catch {
    return null;
  }
}

/** The file of a kept text. */
export function blobOf(text) {
  const [, type, data] = /^data:(image\/\w+);base64,(.*)$/.exec(text);
  return new Blob([Uint8Array.from(atob(data), (char) => char.charCodeAt(0))], { type });
}

function textOf(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(blob);
  });
}
