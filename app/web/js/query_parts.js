// What a query is made of, as parts of the page's address (address.js says what a part offers). A further part, such as a
// filter, is one more function here and one more line where the address is made.

import { find, keep, use } from "./kept.js";
import { pack, unpack } from "./packing.js";
import { bitmapOf, pictureStep } from "./pictures.js";
import { toast } from "./say.js";

const LONGEST_DRAWING = 12_000; // characters in the address; of what is longer only a name is there
const GONE = "nowhere"; // the name of a picture that could not be kept

/** The paper: its strokes in the address itself, its picture by a name that only this tab knows. */
export function sketchPart(surface) {
  const nameOf = (picture) => (picture?.kept ? use(picture.kept) : picture ? GONE : "");
  const write = () => {
    const steps = surface.history.visible();
    const picture = steps.find((step) => step.kind === "image");
    const name = nameOf(picture); // first, as keeping the drawing may need room
    const text = pack(steps.filter((step) => step.kind === "stroke"));
    const drawing = text.length > LONGEST_DRAWING ? (keep(text) ?? GONE) : "";
    return { picture: name, drawing, sketch: drawing ? "" : text };
  };
  return {
    names: ["picture", "drawing", "sketch"],
    write,
    async read({ picture: [picture = ""], drawing: [drawing = ""], sketch: [sketch = ""] }) {
      const now = write();
      if (now.picture === picture && now.drawing === drawing && now.sketch === sketch) return;
      const contents = [];
      if (picture) {
        const bitmap = await bitmapOf(find(picture));
        if (bitmap) contents.push(pictureStep(bitmap, picture));
        else toast("The picture of this search stayed where it was uploaded: a link cannot carry it.");
      }
      const text = drawing ? find(drawing) : sketch;
      if (text === null) toast("The drawing of this search stayed where it was drawn: it is too large for a link.");
      const strokes = text ? unpack(text) : [];
      if (strokes === null) toast("The drawing in this link is damaged, so it is left out.");
      surface.show([...contents, ...(strokes ?? [])]);
    },
    // One entry for a sheet of paper, not for each stroke: undo takes back strokes, Back takes back drawings.
    mark: () => `${surface.history.sheet?.number ?? 0} ${surface.history.isEmpty}`,
  };
}

/** The words. */
export function wordsPart(words) {
  return {
    names: ["words"],
    write: () => ({ words: words.text }),
    read({ words: [text = ""] }) {
      if (text !== words.text) words.text = text;
    },
    mark: () => words.mark,
  };
}

/** The photo that is wanted, by a name that only this tab knows. */
export function photoPart(wanted) {
  const write = () => ({ photo: wanted.kept ? use(wanted.kept) : wanted.file ? GONE : "" });
  return {
    names: ["photo"],
    write,
    async read({ photo: [photo = ""] }) {
      if (photo === write().photo) return;
      const found = await wanted.restore(photo ? find(photo) : null, photo);
      if (photo && !found) toast("The photo of this search stayed where it was chosen: a link cannot carry it.");
    },
    mark: () => write().photo,
  };
}

/** Which photos may be found. */
export function filtersPart(search, filters) {
  return {
    names: ["tag", "type", "taken_from", "taken_to", "orientation", "folder"],
    write: () => search.filters,
    read({ tag, type, ...others }) {
      const single = Object.fromEntries(Object.entries(others).map(([name, [value = ""]]) => [name, value]));
      filters.choose({ tag, type, ...single });
      search.filters = filters.values;
    },
    mark: () => JSON.stringify(search.filters),
  };
}

/** The photos that refine the query. */
export function judgedPart(judged) {
  return {
    names: ["like", "unlike"],
    write: () => judged.values,
    read: (values) => judged.choose(values),
    mark: () => JSON.stringify(judged.values),
  };
}

/** Which stage orders the results; `show` makes its buttons agree. */
export function orderPart(search, show) {
  return {
    names: ["order"],
    write: () => ({ order: search.order === "rerank" ? "" : search.order }),
    read({ order: [order] }) {
      search.order = order === "recall" ? order : "rerank";
      show();
    },
  };
}

/** The photo that is the query instead of the paper. */
export function similarPart(search) {
  return {
    names: ["similar"],
    write: () => ({ similar: search.like?.photo_id ?? "" }),
    read({ similar: [photoId] }) {
      const known = [search.like, ...search.results].find((result) => result?.photo_id === photoId);
      search.like = photoId ? (known ?? { photo_id: photoId }) : null;
    },
    mark: () => search.like?.photo_id ?? "",
  };
}
