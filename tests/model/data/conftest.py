"""Small datasets on disk."""

import pytest
from PIL import Image, ImageDraw


@pytest.fixture
def draw():
    """Writes a small picture: a dark shape on white for sketches, the same on colour for photos."""

    def write(path, modality="sketch", shape=0, side=48):
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (side, side), "white" if modality == "sketch" else (90 + 20 * shape, 160, 200))
        pen = ImageDraw.Draw(image)
        pen.line([(8, 8 + shape), (side - 8, side - 8)], fill="black", width=3)
        pen.ellipse((10, 10, side - 14, side - 12 - shape), outline="black", width=2)
        image.save(path)
        return path

    return write


@pytest.fixture
def collection(tmp_path, draw):
    """ROOT/{sketch,photo}/CATEGORY/*, with the litter that file managers leave."""
    for modality, suffix in (("sketch", ".png"), ("photo", ".jpg")):
        for category in ("cat", "teddy-bear"):
            for number in range(3):
                draw(tmp_path / modality / category / f"tub_{number}{suffix}", modality, number)
    (tmp_path / "sketch" / "cat" / ".DS_Store").write_bytes(b"litter")
    (tmp_path / "sketch" / "cat" / "notes.txt").write_text("litter")
    (tmp_path / "photo" / ".hidden").mkdir()
    return tmp_path
