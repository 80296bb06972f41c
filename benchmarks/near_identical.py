"""What counts as the same picture: how many made variants of photos are found, and how many other photos with them.

    python benchmarks/near_identical.py --photos DIR --count 100          # variants of pictures in DIR, at any depth
    python benchmarks/near_identical.py --photos DIR --gallery GALLERY    # and pairs of photos of a gallery

Each photo is encoded beside variants of itself. A column per threshold gives the share of photos whose variant has at
least this cosine. The last row counts pairs of different content in the gallery: look at some of them with
`sketchseek gallery duplicates --threshold`, because a real library holds near-identical photos too.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from measure import Table, header, parser
from PIL import Image, ImageEnhance
from shared_options import add_network

from index_builder import Gallery
from index_builder.store.token_reader import fixed_size
from model.checkpoints.files import load_checkpoint
from model.images.formats.endings import ENDINGS
from model.images.opening import read_image
from model.images.preprocess import photo_tensor
from model.networks.network import Network

THRESHOLDS = (0.95, 0.96, 0.97, 0.98, 0.99)
_BLOCK = 1000


def saved(image: Image.Image, kind: str = "JPEG", quality: int = 90) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    image.save(file, kind, quality=quality)
    return file.getvalue()


def scaled(image: Image.Image, share: float) -> Image.Image:
    """The picture with so much of its sides."""
    width, height = (max(1, int(side * share)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def cropped(image: Image.Image, share: float, rng: random.Random) -> Image.Image:
    """The picture without so much of its sides, taken from both ends in random parts."""
    width, height = image.size
    left, top = (int(side * share * rng.random()) for side in image.size)
    return image.crop((left, top, left + int(width * (1 - share)), top + int(height * (1 - share))))


def variants(image: Image.Image, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """What people and programs make of one photo: a name and a file each."""
    yield "as PNG", saved(image, "PNG")
    for share in (75, 50, 33):
        yield f"resized to {share} %", saved(scaled(image, share / 100))
    for quality in (60, 30):
        yield f"JPEG of quality {quality}", saved(image, quality=quality)
    yield "WebP of quality 50", saved(image, "WEBP", 50)
    for share in (3, 5, 10):
        yield f"cropped by {share} %", saved(cropped(image, share / 100, rng))
    yield "cropped by 3 %, 50 %, JPEG 50", saved(scaled(cropped(image, 0.03, rng), 0.5), quality=50)
    yield "brighter by 10 %", saved(ImageEnhance.Brightness(image).enhance(1.1))
    yield "turned by 1 degree", saved(image.rotate(1, Image.Resampling.BICUBIC))
    yield "grey", saved(image.convert("L").convert("RGB"))
    yield "mirrored", saved(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))


def cosines_of(network: Network, path: Path, rng: random.Random) -> dict[str, float]:
    """Each variant's cosine with the photo."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    made = dict(variants(image, rng))
    side = network.preprocess.image_size
    opened_again = [read_image(data, longest_side=side).image for data in (path.read_bytes(), *made.values())]
    with torch.inference_mode():
        tensors = torch.stack([photo_tensor(one, network.preprocess) for one in opened_again])
        found = torch.nn.functional.normalize(network.encode_photo(tensors).descriptor.float(), dim=1)
    return dict(zip(made, (found[1:] @ found[0]).tolist(), strict=True))


def pairs_of(gallery: Path) -> dict[float, int]:
    """Pairs of photos with different contents in a gallery that are at least so much alike."""
    table = Gallery.open(gallery).dataset().to_table(columns=["descriptor", "content_hash"])
    contents = table.column("content_hash").combine_chunks().dictionary_encode().indices.to_numpy()
    descriptors = fixed_size(table, "descriptor")
    units = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    counts = dict.fromkeys(THRESHOLDS, 0)
    for start in range(0, len(units), _BLOCK):
        alike = units[start : start + _BLOCK] @ units.T
        alike[contents[start : start + _BLOCK, None] == contents] = -1
        for threshold in THRESHOLDS:
            counts[threshold] += int(np.count_nonzero(alike >= threshold))
    return {threshold: count // 2 for threshold, count in counts.items()}  # both ways round


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    add_network(options)
    options.add_argument("--photos", type=Path, required=True, help="folder of pictures, at any depth")
    options.add_argument("--count", type=int, default=100, help="pictures to make variants of")
    options.add_argument("--categories", type=Path, help="file of folders below it to take, one per line; else all")
    options.add_argument("--gallery", type=Path, help="whose pairs are counted")
    arguments = options.parse_args()
    header(arguments)
    network = load_checkpoint(arguments.checkpoint, "cpu", "float32")
    files = sorted(path for path in arguments.photos.rglob("*") if path.suffix.lower() in ENDINGS)
    if arguments.categories is not None:
        wanted = set(arguments.categories.read_text(encoding="utf-8").split())
        files = [path for path in files if path.parent.name in wanted]
    rng = random.Random(0)
    chosen = rng.sample(files, min(arguments.count, len(files)))
    columns = {"variant": "variant", "median": "median cosine", **{str(one): f"≥ {one}" for one in THRESHOLDS}}
    table = Table("near-identical", f"Variants of {len(chosen)} pictures", columns)
    found = [cosines_of(network, path, rng) for path in chosen]
    for name in found[0]:
        values = np.array([one[name] for one in found])
        shares = {str(one): round(float(np.mean(values >= one)), 2) for one in THRESHOLDS}
        table.add(variant=name, median=float(np.median(values)), **shares)
    if arguments.gallery is not None:
        pairs = {str(one): count for one, count in pairs_of(arguments.gallery).items()}
        table.add(variant="pairs in the gallery", **pairs)
    table.finish(arguments)


if __name__ == "__main__":
    main()
