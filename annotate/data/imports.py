"""Comparisons that others judged come into a project, once, and can be taken out again as they came (`undoing.py`).

An imported comparison is done: nobody is asked about it, unless the import says that people are to judge it again. Its
judgements belong to imported annotators, who are users that cannot sign in and belong to no project; their names are
pseudonyms of those in the file (made with SECRET_KEY, so that they cannot be guessed back). They count like any others.
What stands in the file about models is kept with the completions, and shown to managers only.
"""

from collections.abc import Mapping
from typing import BinaryIO

from annotate.data.batches import QUIET, ImportReport, Steps, begin, bring_in
from annotate.data.storing import Storing
from annotate.formats.files import check_whole
from annotate.formats.registry import detect, read
from annotate.models import Project, User


def import_preferences(
    *,
    project: Project,
    stream: BinaryIO,
    file_name: str,
    format: str = "",
    names: Mapping[str, str] | None = None,
    split: str = "",
    judge_again: bool = False,
    by: User | None = None,
    steps: Steps = QUIET,
) -> ImportReport:
    """Adds the comparisons and judgements of a seekable stream that the project does not have yet.

    Without `format`, the content tells it; `names` maps our field names to the file's. `split` decides where prompts that
    are new belong, and those that are there keep theirs; without it, their content does. With `judge_again`, the comparisons
    that are new are open for the project's people, too. A file that is cut off is refused (FileBroken) and leaves nothing, one
    of no known format is refused with UnknownFormat.
    """
    check_whole(stream)
    format = format or detect(stream, names)
    batch = begin(project=project, file_name=file_name, format=format, by=by, steps=steps)
    storing = Storing(batch, split, judge_again)
    return bring_in(batch=batch, stream=stream, rows=read(stream, format, names), store=storing.store, steps=steps)
