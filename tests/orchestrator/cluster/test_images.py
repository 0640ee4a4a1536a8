"""The images that every cluster starts with."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from orchestrator.cluster.images import EXAMPLE_REFERENCES, archives
from orchestrator.cluster.record import ClusterRecord, ProcessId
from orchestrator.cluster.settings import ClusterSettings
from orchestrator.cluster.welcome import welcome
from orchestrator.images.busybox import BUSYBOX_IMAGE, PAUSE_IMAGE


def test_every_cluster_has_the_images_that_its_welcome_names(tmp_path: Path) -> None:
    """Who follows `orchestrator up`'s own suggestion gets running pods, not ErrImagePull."""
    found = archives(tmp_path)
    texts = []
    for data in found:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            index = archive.extractfile("index.json")
            assert index is not None
            texts.append(index.read().decode())
    for reference in (PAUSE_IMAGE, BUSYBOX_IMAGE, *EXAMPLE_REFERENCES):
        assert any(reference in text for text in texts), reference
    settings = ClusterSettings(data_dir=tmp_path, kubeconfig=tmp_path / "kubeconfig")
    shown = welcome(settings, ClusterRecord(ProcessId(1, 1)))
    manifest = Path(shown.partition("apply -f ")[2].split("\n")[0]).read_text()
    image = manifest.partition("image: ")[2].split()[0]
    assert any(image in text for text in texts)
    assert "status.podIP" in manifest, "without it, replicas collide under the process runtime"


def test_archives_of_the_person_are_loaded_after_the_base(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.tar").write_bytes(b"mine")
    found = archives(tmp_path)
    assert b"mine" in found[1:]
    assert len(found) == 3
