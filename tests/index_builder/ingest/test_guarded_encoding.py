"""A build goes on where memory is short."""

import torch

from index_builder import BuildOptions, build_gallery


def test_memory_that_cannot_be_given_back_does_not_end_a_build(photos, tmp_path, network, monkeypatch):
    encode = type(network).encode_photo

    def short(self, images):
        if len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(self, images)

    def fail():
        raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    monkeypatch.setattr(type(network), "encode_photo", short)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", fail)
    monkeypatch.setattr("model.device_faults._said", False)
    report = build_gallery(photos, tmp_path / "g", network, options=BuildOptions(batch_size=4, workers=1))
    assert report.added == 10
