"""A form whose errors stand at its controls, for a screen reader too."""


class WithErrorsAtTheFields:
    """A control with an error says so to a screen reader too."""

    def mark_errors(self) -> None:
        for name in self.errors:
            if name in self.fields:
                self.fields[name].widget.attrs |= {"aria-invalid": "true", "aria-describedby": f"{self[name].auto_id}_error"}

    def full_clean(self) -> None:
        super().full_clean()
        if self.is_bound:
            self.mark_errors()
