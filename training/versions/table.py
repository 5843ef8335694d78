"""The table of versions: what it can be sorted by and filtered for."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from django.db.models import F, Q, QuerySet

from training.models import Version

SORTS = {  # a column and what it is sorted by
    "number": "number",
    "accuracy": "metrics__heldout_accuracy",
    "triples": "run__dataset__train_count",
    "length": "metrics__mean_tokens",
    "ended": "metrics__ended_share",
    "kl": "metrics__kl",
    "created": "created_at",
}
LONGEST = 100


@dataclass(frozen=True)
class Asked:
    sort: str = "number"
    down: bool = True
    words: str = ""  # in a name, a tag or an alias
    archived: bool = False  # these too

    @classmethod
    def read(cls, given: Mapping[str, str]) -> "Asked":
        """What is not known is ignored: an old address still opens the table."""
        sort = given.get("sort", "").removeprefix("-")
        words = given.get("q", "").replace("\0", "").strip()[:LONGEST]
        known = sort in SORTS
        return cls(
            sort=sort if known else "number",
            down=given["sort"].startswith("-") if known else True,
            words=words,
            archived=given.get("archived") == "1",
        )

    def choose(self, versions: QuerySet[Version]) -> QuerySet[Version]:
        """What nobody has measured comes last, either way."""
        if not self.archived:
            versions = versions.filter(archived_at=None)
        if self.words:
            number = self.words.removeprefix("v")
            exact = Q(number=number) if number.isdecimal() and len(number) < 10 else Q(pk__in=[])
            within = Q(name__icontains=self.words) | Q(tags__icontains=self.words) | Q(aliases__name__icontains=self.words)
            versions = versions.filter(pk__in=versions.filter(exact | within).values("pk"))
        by = F(SORTS[self.sort])
        return versions.order_by(by.desc(nulls_last=True) if self.down else by.asc(nulls_last=True), "-number")

    @property
    def links(self) -> dict[str, str]:
        """Of each column's head: sorted by it, best first; again, the other way round."""
        return {
            name: "?" + urlencode(self._kept | {"sort": f"-{name}" if not (self.sort == name and self.down) else name})
            for name in SORTS
        }

    @property
    def arrow(self) -> dict[str, str]:
        return {self.sort: "↓" if self.down else "↑"}

    @property
    def more(self) -> str:
        """What the links to other pages must carry."""
        return urlencode(self._kept | {"sort": f"-{self.sort}" if self.down else self.sort})

    @property
    def _kept(self) -> dict[str, str]:
        return ({"q": self.words} if self.words else {}) | ({"archived": "1"} if self.archived else {})
