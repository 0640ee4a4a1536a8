"""Each component by itself: `orchestrator apiserver`, `scheduler`, `controller-manager`, …"""

from __future__ import annotations

import argparse


def add_component_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add a verb a component."""
