"""Keep container logs bounded: rename a log that has grown, and drop the oldest."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from orchestrator.runtime.protocol import Runtime, RuntimeFailure

log = logging.getLogger(__name__)

LOG_SIZE_BYTES_MAX = 10 * 1024 * 1024
LOG_FILES_MAX = 5
"""Of one incarnation of a container, the current one included."""


async def rotate_logs(
    runtime: Runtime,
    logs: Iterable[tuple[str, Path]],
    now: datetime,
    size_bytes_max: int = LOG_SIZE_BYTES_MAX,
) -> None:
    """Rotate the logs (container id, path) that are larger than `size_bytes_max`.

    `now` names the renamed file: `<attempt>.log.<time>`.
    """
    for container_id, path in logs:
        try:
            if path.stat().st_size <= size_bytes_max:
                continue
            os.replace(path, path.with_name(f"{path.name}.{now:%Y%m%d-%H%M%S.%f}"))
            await runtime.reopen_log(container_id)
            old = sorted(path.parent.glob(f"{path.name}.*"))
            for file in old[: -(LOG_FILES_MAX - 1)]:
                file.unlink(missing_ok=True)
        except FileNotFoundError:
            continue  # the container has written nothing, or its pod is gone
        except (OSError, RuntimeFailure) as error:
            log.warning("cannot rotate %s: %s", path, error)
