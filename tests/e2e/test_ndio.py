"""The releases of ndio on PyPI against the real server: 1.1.5 as it is, 1.1.6 made to start.

(1.1.6 calls a method as a function of its module; ``ndio_session.py`` puts it there. Where there is
no numpy of before 1.24, it also puts ``numpy.float`` there, without which ndio posts no objects.)
"""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support import ndio
from tests.support.server import serving

pytestmark = pytest.mark.e2e

SESSION = Path(__file__).with_name("ndio_session.py")
SHAPE_XYZ = (150, 70, 40)


@pytest.fixture(scope="module")
def voxels():
    """(x, y, z), with zeros among them."""
    return np.random.default_rng(5).integers(0, 255, SHAPE_XYZ, dtype=np.uint8)


@pytest.fixture(scope="module", params=["1.1.5", "1.1.6"])
def session(request, ndio_python, voxels, tmp_path_factory):
    """What an ndio session was told, and what it read, by name."""
    folder = tmp_path_factory.mktemp("ndio")
    source = folder / "voxels.npy"
    np.save(source, voxels)
    allowed = dict.fromkeys(("NDLAMBDA_ANONYMOUS_WRITE", "NDLAMBDA_ANONYMOUS_DELETE"), "1")
    with serving(folder / "data", **allowed) as server:
        client = server.client()
        client.datasets.create(
            "kasthuri", ximagesize=256, yimagesize=128, zimagesize=64, zoffset=1, scalinglevels=2,
            xvoxelres=6.0, yvoxelres=6.0, zvoxelres=30.0, scalingoption=0, public=1,
        )  # fmt: skip
        client.projects("kasthuri").create("em", public=1)
        client.tokens("kasthuri", "em").create("kasthuri11", public=1)
        client.tokens("kasthuri", "em").create("hidden", public=0)
        words = server.url.removeprefix("http://"), server.key, "kasthuri11", source, folder
        said = json.loads(ndio.run(ndio_python, request.param, SESSION, *words))
    read = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    assert said["version"] == request.param
    return said, read


def test_ndio_sees_public_tokens_and_reads_their_geometry(session):
    said, _ = session
    assert len(said["public_datasets"]) == 1
    assert said["info"]["dataset"]["name"] == "kasthuri"
    expected = {
        "ping": 200, "public_tokens": ["kasthuri11"], "is_metadata_info": True,
        "image_size": [256, 128, 64], "image_offset": [0, 0, 1], "block_size": [128, 128, 16],
        "volume_offset": [5, 7, 3],
    }  # fmt: skip
    assert {name: said[name] for name in expected} == expected


def test_ndio_makes_and_deletes_channels(session):
    said, _ = session
    expected = {
        "created": True, "created_labels": True, "channels_before": [],
        "channels_between": ["cells", "em"], "channels_after": ["cells"], "propagate_status": "0",
    }  # fmt: skip
    assert {name: said[name] for name in expected} == expected


def test_ndio_reads_back_what_it_posted(session, voxels):
    _, read = session
    for name in ("cutout", "cutout_in_chunks", "volume_in_chunks"):
        assert read[name].dtype == np.uint8
        assert np.array_equal(read[name], voxels), name
    assert read["cells"].dtype == np.uint32
    assert np.array_equal(read["cells"], voxels.astype(np.uint32) * 1000)
    assert np.array_equal(read["xy_slice"], voxels[:, :, 0])
    assert read["coarse"].shape == (32, 16, 16)
    assert read["coarse"].any()


def test_ndio_posts_finds_reads_and_deletes_objects(session):
    said, _ = session
    ramon = said["ramon"]
    soma, synapse, neuron, mitochondrion, spot, doomed = ids = ramon["ids"]
    assert ids == list(range(soma, soma + 6))
    expected = {
        "posted": [ids[:-1], [doomed]], "found": ids, "segments": [soma, doomed],
        "deleted": True, "gone": f"No data for id {[str(doomed)]}.",
    }  # fmt: skip
    assert {name: ramon[name] for name in expected} == expected
    base = {"author": "", "status": 0, "confidence": 0.0, "kvpairs": {}}
    given = {"author": "ada", "status": 2, "confidence": 0.5, "kvpairs": {"cell": "L2/3"}}
    # 1.1.6 does not read these two.
    joint = {"synapse_type": 1, "weight": 0.25} if said["version"] == "1.1.5" else {}
    wanted = [
        {"class": "RAMONSegment", "id": str(soma), "segmentclass": 3, "neuron": neuron,
         "synapses": [synapse], "organelles": [], **given},
        {"class": "RAMONSynapse", "id": str(synapse), "segments": [soma], **joint, **base},
        {"class": "RAMONNeuron", "id": str(neuron), "segments": [soma], **base},
        {"class": "RAMONOrganelle", "id": str(mitochondrion), "organelle_class": [4], **base},
        {"class": "RAMONGeneric", "id": str(spot), **base},
    ]  # fmt: skip
    for found, each in zip(ramon["objects"], wanted, strict=True):
        assert {name: found[name] for name in each} == each
    flat = ramon["metadata"][str(soma)]
    assert (flat["ann_id"], flat["seg_neuron"], flat["cell"]) == (soma, neuron, "L2/3")


def test_ndio_finds_the_voxels_of_an_object(session):
    ramon = session[0]["ramon"]
    assert ramon["box"] == [200, 204, 100, 103, 41, 43]
    # ndio leaves out the last voxel of each axis.
    assert np.array_equal(ramon["cutout"], np.full((3, 2, 1), ramon["ids"][0]))


def test_ndio_propagates(session):
    said, _ = session
    # 1.1.5 compares a text with a number, so it believes that propagation has begun.
    begun = said["version"] == "1.1.6"
    assert said["ramon"]["propagated"] is (True if begun else None)
    assert said["ramon"]["propagated_status"] == ("2" if begun else "0")
    assert said["ramon"]["coarse_box"] == [100, 102, 50, 52, 41, 43]
