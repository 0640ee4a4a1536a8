"""`make up` and `make down`: a cluster with a three-member store, and the hello example on it."""

from __future__ import annotations

import asyncio
import sys
import time
import urllib.error
import urllib.request

import yaml

from orchestrator import kubeconfig
from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import DEPLOYMENT, POD, SERVICE
from orchestrator.client.rest_client import APPLY_PATCH, RestClient
from orchestrator.cluster.access import admin_access
from orchestrator.cluster.down import down
from orchestrator.cluster.images import EXAMPLE
from orchestrator.cluster.progress import Progress
from orchestrator.cluster.record import ClusterRecord
from orchestrator.cluster.settings import ClusterSettings, default_data_dir
from orchestrator.cluster.up import UpError, up
from orchestrator.cluster.welcome import welcome

STORE_MEMBERS = 3
READY_TIMEOUT_S = 60.0
PAGE_TIMEOUT_S = 20.0
POLL_S = 0.1
KINDS = {"Deployment": DEPLOYMENT, "Service": SERVICE}


class QuickstartError(Exception):
    """The example did not come up; the message says how far it got."""


def main(argv: list[str]) -> int:
    if argv not in (["up"], ["down"]):
        print("usage: python -m orchestrator.quickstart up|down", file=sys.stderr)
        return 2
    progress = Progress()
    directory = default_data_dir() / "quickstart"
    if argv == ["down"]:
        if not down(directory, progress, purge=True):
            print("nothing was running", file=sys.stderr)
        return 0
    settings = ClusterSettings(
        data_dir=directory, kubeconfig=kubeconfig.default_path().absolute(), members=STORE_MEMBERS
    )
    try:
        settings.validate()
        record = up(settings, progress)
        pages = asyncio.run(run_example(settings, record, progress))
    except (UpError, QuickstartError, StatusError) as error:
        print(f"make up: {error}", file=sys.stderr)
        return 1
    for url, page in pages:
        print(f"\n$ curl {url}\n{page}", end="")
    print(welcome(settings, record))
    print("  make down                                   stops it all and cleans up")
    return 0


async def run_example(
    settings: ClusterSettings, record: ClusterRecord, progress: Progress
) -> list[tuple[str, str]]:
    """Apply the example, wait for its pods, and fetch its page until each pod has answered."""
    config = admin_access(settings.data_dir, record, "orchestrator")
    async with RestClient(config) as client:
        progress.step(f"applying {EXAMPLE.name}")
        applied = [await apply(client, manifest) for manifest in manifests()]
        deployment = next(o for o in applied if o["kind"] == "Deployment")
        service = next(o for o in applied if o["kind"] == "Service")
        progress.step("waiting for the pods of deployment hello")
        names = await ready_pods(client, deployment)
    url = f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}/"
    progress.step(f"fetching {url} until {' and '.join(names)} have answered")
    return await asyncio.to_thread(fetch_from_each, url, names)


def manifests() -> list[JsonObject]:
    return [document for document in yaml.safe_load_all(EXAMPLE.read_text()) if document]


async def apply(client: RestClient, manifest: JsonObject) -> JsonObject:
    """Server-side apply, as `kubectl apply --server-side` does."""
    return await client.patch(
        KINDS[manifest["kind"]],
        manifest["metadata"].get("namespace", "default"),
        manifest["metadata"]["name"],
        manifest,
        APPLY_PATCH,
        field_manager="quickstart",
        force=True,
    )


async def ready_pods(client: RestClient, deployment: JsonObject) -> list[str]:
    """Wait until the deployment is available; give its ready pods' names."""
    name, wanted = deployment["metadata"]["name"], deployment["spec"]["replicas"]
    labels = deployment["spec"]["selector"]["matchLabels"]
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        pods = await client.list(POD, "default", label_selector=selector)
        ready = [pod["metadata"]["name"] for pod in pods["items"] if is_ready(pod)]
        if len(ready) >= wanted:
            return sorted(ready)
        if time.monotonic() > deadline:
            states = [
                f"{pod['metadata']['name']}: {pod.get('status', {}).get('phase', 'Pending')}"
                for pod in pods["items"]
            ]
            raise QuickstartError(
                f"deployment {name} has {len(ready)} of {wanted} pods ready after "
                f"{READY_TIMEOUT_S:.0f} s ({'; '.join(states) or 'no pods'}); "
                "`kubectl describe pods` tells more"
            )
        await asyncio.sleep(POLL_S)


def is_ready(pod: JsonObject) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def fetch_from_each(url: str, names: list[str]) -> list[tuple[str, str]]:
    """Fetch until every pod has answered once; give one page of each."""
    deadline = time.monotonic() + PAGE_TIMEOUT_S
    pages: dict[str, str] = {}
    failure = ""
    while len(pages) < len(names):
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                text = answer.read().decode()
            for name in names:
                if name in text:
                    pages.setdefault(name, text)
        except (urllib.error.URLError, OSError) as error:
            failure = f"; the last failure was: {error}"
        if time.monotonic() > deadline:
            missing = ", ".join(sorted(set(names) - set(pages)))
            raise QuickstartError(f"{url} was not answered by {missing}{failure}")
        if failure:
            time.sleep(POLL_S)
    return [(url, pages[name]) for name in names]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
