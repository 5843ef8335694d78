"""Text that is shown: Markdown, formulas, differences, numbers in sentences."""
