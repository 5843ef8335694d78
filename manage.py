#!/usr/bin/env python
"""Command line of the web app: `python manage.py help`."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from annotate.shortages import explain_shortage

        explanation = None if "--traceback" in sys.argv else explain_shortage(error)
        if explanation is None:
            raise
        sys.exit(f"CommandError: {explanation}")


if __name__ == "__main__":
    main()
