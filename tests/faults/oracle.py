"""Evaluate Python expressions from stdin in the portal; print each value as JSON."""

import json
import sys

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402, F401
from django.db import connection  # noqa: E402
from django.db.models import Count  # noqa: E402, F401
from django.db.models.functions import Now  # noqa: E402, F401
from rest_framework.authtoken.models import Token  # noqa: E402, F401

from portal.models import *  # noqa: E402, F403
from uploads._internal import sessions  # noqa: E402, F401
from uploads._internal.sessions.end import *  # noqa: E402, F403
from uploads.models import *  # noqa: E402, F403

for line in sys.stdin:
    try:
        answer = {"value": eval(line)}  # noqa: S307 - only tests write to stdin
    except Exception as error:
        answer = {"error": repr(error)}
    connection.close()
    print(json.dumps(answer, default=str), flush=True)
