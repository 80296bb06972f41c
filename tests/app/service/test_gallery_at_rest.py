"""What a writer does while nothing changes."""

from app.metrics import Metrics
from app.service.changes.gallery_changes import GalleryChanges
from app.service.changes.served import NothingServed
from index_builder import BuildOptions, Gallery, sync_gallery
from tests.app.conftest import picture, settings_for


def test_the_folders_are_read_again_only_from_a_new_version(gallery, photos, network, monkeypatch):
    settings = settings_for(gallery)
    changes = GalleryChanges(settings, network, NothingServed(), Metrics(), BuildOptions(workers=1))
    opened, real = list[str](), Gallery.folders_of

    def folders_of(path, said=None):
        opened.append(str(path))
        return real(path, said)

    monkeypatch.setattr(Gallery, "folders_of", staticmethod(folders_of))
    first = [changes.folders() for _ in range(3)]
    assert [folders.local for folders in first] == [[photos]] * 3
    assert len(opened) == 1
    picture(901).save(photos / "new.png")
    sync_gallery(gallery, network, options=BuildOptions(workers=1))
    opened.clear()
    assert [changes.folders() for _ in range(3)] == first
    assert len(opened) == 1
    changes.close()
