"""Guidelines as their readers and writers meet them: editions that are saved, read and compared."""

from django.db import transaction

from annotate.models import GuidelinesEdition, Membership, Project, User

LONGEST = 50_000  # characters


class GuidelinesChanged(Exception):
    """Somebody else has saved an edition since the text was opened for writing; `newest` is theirs."""

    def __init__(self, newest: GuidelinesEdition) -> None:
        who = newest.by.get_full_name() if newest.by else "Somebody"
        super().__init__(
            f"{who} has saved edition {newest.number} since you opened this page. Your text is kept below: look at what they "
            "changed, take over what should stay, and save again."
        )
        self.newest = newest


@transaction.atomic
def save_guidelines(
    *, project: Project, text: str, by: User | None, why: str = "", based_on: int | None = None
) -> GuidelinesEdition | None:
    """Makes the text the project's guidelines, as a new edition. The same text again gives the edition that has it.

    `based_on` is the number of the edition the writer started from (0: there was none); when another is the newest by
    now, GuidelinesChanged. `project` is brought up to date. None when there is neither a text nor an edition.
    """
    locked = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    newest = locked.guidelines_edition
    text = text.replace("\r\n", "\n").replace("\0", "").strip()
    if based_on is not None and newest and newest.number != based_on and newest.text != text:
        raise GuidelinesChanged(newest)
    if text == (newest.text if newest else ""):
        edition = newest
    else:
        number = (locked.guidelines_editions.order_by("-number").values_list("number", flat=True).first() or 0) + 1
        edition = GuidelinesEdition.objects.create(project=locked, number=number, text=text, why=why.replace("\0", ""), by=by)
        locked.guidelines, locked.guidelines_edition = text, edition
        locked.save(update_fields=["guidelines", "guidelines_edition"])
        Membership.objects.filter(project=locked, user=by).update(guidelines_read=edition)  # who wrote it has read it
    project.guidelines, project.guidelines_edition = locked.guidelines, edition
    return edition


def mark_as_read(*, membership: Membership, number: int) -> None:
    """The member has opened that edition. An older one than they have read changes nothing; one that is not there neither."""
    edition = GuidelinesEdition.objects.filter(project=membership.project_id, number=number).first()
    if edition and (membership.guidelines_read_id is None or edition.pk > membership.guidelines_read_id):
        older = Membership.objects.filter(pk=membership.pk).exclude(guidelines_read__gte=edition.pk)
        older.update(guidelines_read=edition)
        membership.guidelines_read = edition


def is_unread(membership: Membership) -> bool:
    """Whether the guidelines have changed since the member last opened them (or they never did)."""
    newest = membership.project.guidelines_edition_id
    return newest is not None and membership.guidelines_read_id != newest
