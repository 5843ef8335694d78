"""What an annotator is told when an answer or a skip cannot be taken."""


class JudgementRefused(Exception):
    """An answer that was not recorded, with the reason.

    `code` is for programs, `message` for people (what, and what next), `fields` names the inputs at fault:
    the API's one error shape.
    """

    def __init__(self, code: str, message: str, fields: dict[str, list[str]] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fields = fields or {}
