"""The dashboard and the alerts use only exported metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from django.test import Client

from uploads._internal import sessions

DIRECTORY = Path(__file__).resolve().parents[1] / "docs" / "monitoring"


def expressions() -> list[str]:
    dashboard = json.loads((DIRECTORY / "grafana.json").read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((DIRECTORY / "alerts.yml").read_text())["groups"][0]["rules"]
    return shown + [rule["expr"] for rule in rules]


@pytest.mark.parametrize("expression", expressions())
def test_used_metrics_are_exported(admin_client: Client, expression: str) -> None:
    sessions.expire_stale(batch_size=1)
    exported = set(re.findall(r"^(uploads_\w+)", admin_client.get("/metrics").content.decode(), re.MULTILINE))
    used = set(re.findall(r"uploads_\w+", expression))
    assert used
    # A metric with labels is exported only after its first count.
    assert used <= exported | {"uploads_sessions_total"}
