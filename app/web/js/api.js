// The service's HTTP interface. Every call resolves to plain data or throws a Problem.

const KEY = "sketchseek-key";

/** An answer that is no success, as RFC 9457 describes it; `code` is stable. Code "offline": nobody answered. */
export class Problem extends Error {
  constructor({ status = 0, code = "error", title = "", detail = "", retryAfter = 0 }) {
    super(detail || title || code);
    Object.assign(this, { status, code, title, detail, retryAfter });
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

// Everything lies beside this module's folder, whatever path a proxy serves the page under.
const address = (path) => new URL(`../${path}`, import.meta.url);

// A photo's `url` begins with the path that the service believes to be under; the page knows better.
const photoPath = (url) => url.slice(url.lastIndexOf("photos/"));
export const photoAddress = (url) => address(photoPath(url));

async function call(path, { method = "GET", body = null, headers = {}, signal = null } = {}) {
  const credentials = key.get() ? { Authorization: `Bearer ${key.get()}` } : {};
  let response;
  try {
    response = await fetch(address(path), { method, body, signal, headers: { ...credentials, ...headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ code: "offline", title: "The service does not answer" });
  }
  if (response.ok) return response;
  let said = {};
  try {
    said = await response.json();
  } catch {
    // A proxy's page is no problem document; its status has to do.
  }
  throw new Problem({
    status: response.status,
    code: said.code ?? `http_${response.status}`,
    title: said.title ?? response.statusText,
    detail: typeof said.detail === "string" ? said.detail : "",
    retryAfter: Number(response.headers.get("Retry-After")) || 0,
  });
}

const json = async (path, options = {}) =>
  (await call(path, { ...options, headers: { Accept: "application/json", ...options.headers } })).json();

function form(fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined || value === null) continue;
    if (value instanceof Blob) data.append(name, value, `${name}.png`);
    else for (const one of Array.isArray(value) ? value : [value]) data.append(name, String(one));
  }
  return data;
}

/** A search by parts: `sketch` and `photo` are Blobs, `text` is words; those that are null are left out. */
export const search = (fields, signal) => json("search", { method: "POST", body: form(fields), signal });

export const explain = (sketch, photoId, signal) =>
  json("explain", { method: "POST", body: form({ sketch, photo_id: photoId }), signal });

/** A picture that explains: format "overlay", "synthesis" or "attention"; `among` are the photos of a universal synthesis. */
export async function explainPicture(sketch, photoId, format, among, signal) {
  const body = form({ sketch, photo_id: photoId, format, among });
  return (await call("explain", { method: "POST", body, signal, headers: { Accept: "image/png" } })).blob();
}

/** How many photos each further filter would leave, given those that are set. */
export const facets = (filters, signal) => {
  const query = new URLSearchParams(Object.entries(filters).flatMap(([name, value]) => [value].flat().map((one) => [name, one])));
  return json(`gallery/facets?${query}`, { signal });
};

/** The files of several photos as one ZIP archive. */
export const archive = async (photoIds, signal) => {
  const body = JSON.stringify({ photos: photoIds });
  return (await call("archive", { method: "POST", body, signal, headers: { "Content-Type": "application/json" } })).blob();
};

export const gallery = (signal) => json("gallery", { signal });

const SILENCE = 45000; // ms after which a stream that sends something every 15 s is dead

/** How the gallery stands, now and after each change: `version`, `photos` and `building`. `ending` ends it. EventSource could send no key. */
export async function* galleryEvents(ending) {
  const response = await call("gallery/events", { signal: ending.signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const timer = setTimeout(() => ending.abort(), SILENCE);
    const { value, done } = await reader.read().finally(() => clearTimeout(timer));
    if (done) return;
    const lines = (text + value).split("\n");
    text = lines.pop();
    for (const line of lines) if (line.startsWith("data:")) yield JSON.parse(line.slice(5));
  }
}

export async function addPhoto(file, signal) {
  const body = new FormData();
  body.append("photo", file, file.name);
  return (await call("photos", { method: "POST", body, signal })).json();
}

/** How a change of the gallery goes on. */
export const job = (jobId) => json(`jobs/${encodeURIComponent(jobId)}`);

export const deletePhoto = (photoId) => call(`photos/${encodeURIComponent(photoId)}`, { method: "DELETE" });

const SHOWN = /\.(jpe?g|jpe|jfif|mpo|png|webp|gif|bmp|dib|avif)$/i;

/** Whether every browser shows files of this name; of others the service makes a picture for the screen. */
export const isShown = (path) => SHOWN.test(path);

/** Where a picture is that the browser shows: the photo itself, or a picture of it. */
export const pictureOf = (photo) => (isShown(photo.path) ? photo.url : screenOf(photo));

/** The small picture of a photo of which no more than its id may be known. */
export const thumbnailOf = ({ photo_id: photoId }) => `photos/${encodeURIComponent(photoId)}/thumbnail`;

/** Whether the gallery no longer has the photo; false where that cannot be found out. */
export const isGone = async (photoId) => {
  try {
    await call(`photos/${encodeURIComponent(photoId)}/thumbnail`);
    return false;
  } catch (problem) {
    return problem.code === "unknown_photo";
  }
};

/** A picture of the photo that every browser shows. */
export const screenOf = ({ url }) => `${url}?rendition=screen`;

// A bucket would have to let this page fetch from it. So the bytes come from the service, even where images come from there.
const bytes = async (url) => {
  const path = photoPath(url);
  return (await call(/^photos\/[^/?]+$/.test(path) ? `${path}?redirect=false` : path)).blob();
};

/** The bytes of a photo's file or picture, for a link that cannot send a key. */
export const original = (url) => bytes(url);

const asked = new WeakMap(); // image to what it was last asked to show
const left = new FinalizationRegistry((url) => URL.revokeObjectURL(url)); // the bytes go with the image that showed them

/**
 * Shows a photo of the gallery. An image element sends no key, so where one is needed the bytes are fetched. Resolves to
 * whether the image shows them: not where it was asked for another photo meanwhile, which also keeps an error to itself.
 */
export async function showPhoto(image, url) {
  const mine = {};
  asked.set(image, mine);
  if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
  if (!key.get()) {
    image.src = photoAddress(url);
    return true;
  }
  try {
    const blob = await bytes(url);
    if (asked.get(image) !== mine) return false;
    image.src = URL.createObjectURL(blob);
    left.register(image, image.src);
    return true;
  } catch (problem) {
    if (asked.get(image) !== mine) return false;
    image.removeAttribute("src"); // rather nothing than the photo before
    throw problem;
  }
}
