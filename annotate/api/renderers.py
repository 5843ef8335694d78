"""How answers of the API become bytes."""

from typing import Any

from rest_framework.renderers import JSONRenderer as Utf8JSONRenderer


class JSONRenderer(Utf8JSONRenderer):
    """As UTF-8; what UTF-8 has no place for (half a surrogate pair, which a refusal repeats) is escaped."""

    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        try:
            return super().render(data, *args, **kwargs)
        except UnicodeEncodeError:
            self.ensure_ascii = True
            return super().render(data, *args, **kwargs)
