"""Which text towers were trained with the quick GELU, against open_clip's own table."""

import pytest

from model.backbones.timm_backbones import pretrained_settings
from model.backbones.torchvision_guard import import_torchvision
from model.training.material.clip_text import is_clip, was_quick


@pytest.fixture(scope="module")
def theirs():
    """Whether weights were trained with it, by their place on the hub."""
    import_torchvision()
    table = pytest.importorskip("open_clip.pretrained", reason="the extra 'clip' is not installed")._PRETRAINED
    found: dict[str, bool] = {}
    for tags in table.values():
        for weights in tags.values():
            if place := weights.get("hf_hub", "").rstrip("/"):
                found[place] = bool(weights.get("quick_gelu"))
    return found


def test_it_is_what_open_clip_says_of_every_backbone_that_both_know(theirs):
    import timm

    names = [name for name in timm.list_models("vit*_clip_*", pretrained=True, include_tags=True) if is_clip(name)]
    places = {name: pretrained_settings(name).hf_hub_id for name in names}
    known = {name: theirs[place] for name, place in places.items() if place in theirs}
    assert len(known) > 20
    assert sum(known.values()) > 10
    assert {name: was_quick(name) for name in known} == known


@pytest.mark.parametrize(
    ("backbone", "quick"),
    [
        ("vit_base_patch32_clip_224.laion400m_e32", True),
        ("vit_base_patch16_clip_224.laion400m_e32", False),
        ("vit_huge_patch14_clip_224.metaclip_altogether", False),
        ("vit_large_patch14_clip_224.dfn2b", True),
        ("vit_large_patch14_clip_224.dfn2b_s39b", False),
        ("vit_huge_patch14_clip_378.metaclip2_worldwide", False),
        ("vit_huge_patch14_clip_378", True),  # timm takes DFN's weights then
        ("vit_base_patch16_clip_224", False),
        ("vit_base_patch16_clip_224.openai_ft_in12k", True),
    ],
)
def test_it_where_names_mislead(backbone, quick):
    assert was_quick(backbone) is quick
