"""Problems of buckets and storage settings that endanger uploads."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from django.core.checks import CheckMessage, Warning

from uploads._internal.stores.s3.calls import code_of, members

if TYPE_CHECKING:
    from storages.backends.s3 import S3Storage
    from types_boto3_s3.client import S3Client

MAX_SKEW = 30
"""Seconds by which the clocks of this host and of the store may differ."""
SAFE_AGE = timedelta(days=7)
"""Minimum time before a lifecycle rule may abort uploads.

Lifecycle rules count from the start of an upload, even if it is active. A large file on a slow line takes days.
"""


def clock_problems(date: str | None) -> Iterator[str]:
    """Yield a problem if the store's Date header differs from this host's clock."""
    skew = abs((parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()) if date else 0
    if skew > MAX_SKEW:
        yield f"this host's clock and the store's differ by {skew:.0f} s; S3 refuses requests at 900 s: run NTP"


def add_cors_rule(client: S3Client, bucket: str, rule: Any) -> bool:
    """Add a CORS rule to the bucket's rules; return False if it has the rule."""
    try:
        rules: list[Any] = client.get_bucket_cors(Bucket=bucket)["CORSRules"]
    except ClientError as error:
        if code_of(error) != "NoSuchCORSConfiguration":
            raise
        rules = []
    if rule in rules:
        return False
    client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [*rules, rule]})
    return True


def bucket_problems(client: S3Client, bucket: str, prefix: str, lifetime: timedelta) -> Iterator[str]:
    """Yield problems that lifecycle rules and versioning of the bucket cause for uploads.

    ``prefix`` is the uploads' key prefix, ending in a slash.
    """
    rules = _rules(client, bucket)
    for rule in rules:
        yield from _rule_problems(rule, prefix, lifetime)
    if _keeps_versions(client, bucket) and not any(
        rule["Status"] == "Enabled" and "NoncurrentVersionExpiration" in rule for rule in rules
    ):
        yield (
            "the bucket keeps versions, so every deleted fragment is kept and billed: add a lifecycle rule with "
            "NoncurrentVersionExpiration (and ExpiredObjectDeleteMarker) for the prefix of the uploads"
        )


def settings_warnings(storage: S3Storage, ours: Collection[str]) -> Iterator[CheckMessage]:
    """Yield warnings about the storage's settings; ``ours`` are parameters that the store sets itself."""
    if not storage.bucket_name:
        yield Warning("The S3 storage for uploads has no bucket_name.", id="uploads.W001")
    config = getattr(storage, "client_config", None)
    if config is not None and (config.s3 or {}).get("payload_signing_enabled") is not False:
        yield Warning(
            "boto3 hashes each part with SHA-256 to sign it, over HTTPS too, though the part carries a CRC-32.",
            hint='client_config: Config(s3={"payload_signing_enabled": False}), if the way there is trusted.',
            id="uploads.W005",
        )
    configured = set(storage.object_parameters) if isinstance(storage.object_parameters, Mapping) else set()
    if unknown := sorted(configured - members("CreateMultipartUpload") - {*ours}):
        yield Warning(
            f"Multipart uploads do not take these of the storage's object_parameters: {', '.join(unknown)}.",
            hint="Files that come through upload sessions are stored without them.",
            id="uploads.W006",
        )


def _rules(client: S3Client, bucket: str) -> list[Any]:
    try:
        return list(client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"])
    except (ClientError, BotoCoreError):
        return []  # There are none, or these credentials may not read them.


def _keeps_versions(client: S3Client, bucket: str) -> bool:
    try:
        return bool(client.get_bucket_versioning(Bucket=bucket).get("Status"))
    except (ClientError, BotoCoreError):
        return False


def _rule_problems(rule: Any, prefix: str, lifetime: timedelta) -> Iterator[str]:
    chosen = rule.get("Filter", {})
    concerned = {**rule, **chosen, **chosen.get("And", {})}.get("Prefix", "")
    if rule["Status"] != "Enabled" or not (prefix.startswith(concerned) or concerned.startswith(prefix)):
        return
    name = rule.get("ID", "without a name")
    days = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
    if days is not None and timedelta(days=days) < max(SAFE_AGE, lifetime):
        yield (
            f"the lifecycle rule {name} aborts uploads {days} days after they began, also those still running: "
            f"make it {SAFE_AGE.days} days or leave it to the expiry task"
        )
    if "Expiration" in rule and rule["Expiration"].keys() & {"Days", "Date"}:
        yield f"the lifecycle rule {name} deletes finished files: {rule['Expiration']}"
