"""A build goes on where memory is short."""

import threading

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


def test_the_first_whole_batch_is_prepared_for_and_the_end_of_the_build_forgets_it(
    photos, tmp_path, network, monkeypatch
):
    """On the thread that encodes. A build smaller than a batch prepares for nothing."""
    told: list[object] = []
    monkeypatch.setattr(
        type(network), "prepare_batches", lambda _self, count: told.append((count, threading.current_thread().name))
    )
    monkeypatch.setattr(type(network), "forget_batches", lambda _self: told.append("forgotten"))
    build_gallery(photos, tmp_path / "small", network, options=BuildOptions(batch_size=16, workers=1))
    assert told == ["forgotten"]
    told.clear()
    build_gallery(photos, tmp_path / "large", network, options=BuildOptions(batch_size=4, workers=1))
    assert told == [(4, "encode_0"), "forgotten"]
