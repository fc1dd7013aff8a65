"""The causes of errors, for logs, operators and tasks."""

from __future__ import annotations

from uploads.exceptions import UploadError


def is_interruption(error: Exception) -> bool:
    """Return True if ``error`` ends the running task, as Celery's soft time limit does.

    The exception is recognized by name, because Celery need not be installed.
    """
    return any(kind.__name__ == "SoftTimeLimitExceeded" for kind in type(error).__mro__)


def cause_of(error: BaseException) -> str:
    """Describe the cause of an error for logs and operators.

    For an error of the store, this is the call with its status and code, otherwise the exception.
    """
    cause = error.__cause__ or error
    response = getattr(cause, "response", None)
    if isinstance(response, dict) and hasattr(cause, "operation_name"):  # botocore's ClientError
        fields, meta = response.get("Error", {}), response.get("ResponseMetadata", {})
        status, code, text = meta.get("HTTPStatusCode"), fields.get("Code"), fields.get("Message")
        return f"{cause.operation_name} was answered {status} {code}: {text}"
    return str(cause) if isinstance(cause, UploadError) else f"{type(cause).__name__}: {cause}"
