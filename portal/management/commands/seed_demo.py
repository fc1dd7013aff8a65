"""Create the demo's users and folder; safe to repeat."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from rest_framework.authtoken.models import Token

from portal.models import Folder


class Command(BaseCommand):
    help = "Create the users demo/demo and admin/admin; print the API token of demo."

    def handle(self, **_: Any) -> None:
        demo = self._user("demo")
        self._user("admin", is_staff=True, is_superuser=True)
        # The first folder of a new database gets the id 1, which the documentation uses.
        Folder.objects.get_or_create(owner=demo, parent=None, defaults={"title": "My documents"})
        self.stdout.write(Token.objects.get_or_create(user=demo)[0].key)

    def _user(self, name: str, **flags: bool) -> User:
        user, new = User.objects.get_or_create(username=name, defaults=flags)
        if new:
            user.set_password(name)
            user.save()
        return user


def has_demo_credentials() -> bool:
    """Return True if a demo user still has the password from the documentation."""
    return any(user.check_password(user.username) for user in User.objects.filter(username__in=["demo", "admin"]))
