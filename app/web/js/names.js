// What a photo is called where people read it. Cameras and collections number their files ("n02206856_1089"), which says little,
// so such names stand among the details.

/** The file's name where it is made of words, or else the photo's innermost tag; in words. */
export function nameOf({ path, tags }) {
  const file = path.split("/").pop().replace(/\.[^.]+$/, "");
  const isWords = /^\D*\p{L}{3}\D*$/u.test(file);
  const tag = tags?.findLast((one) => /\p{L}/u.test(one)); // not a year's or a month's folder
  return spaced(isWords ? file : (tag ?? file)) || path;
}

const spaced = (text) => text.replaceAll(/[_\-.\s]+/g, " ").trim();
