"""Sessions in the database, as Django keeps them; looking one up is what every request begins with, so its statement is kept."""

from datetime import datetime

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.utils import timezone

from annotate.models.kept_queries import Given, KeptQuery

_session = KeptQuery(lambda: Session.objects.filter(session_key=Given("key", str), expire_date__gt=Given("now", datetime)))


class SessionStore(db.SessionStore):
    def _get_session_from_db(self) -> Session | None:
        found = _session.first(key=self.session_key, now=timezone.now())
        if found is None:
            self._session_key = None
        return found
