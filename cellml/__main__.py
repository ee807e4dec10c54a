"""The command `cellml` and `python -m cellml`: first the process, then the command line."""

from cellml import platform


def main() -> None:
    """Entry point of the console script."""
    platform.restart_with_huge_pages()
    from cellml import cli  # after the restart: what is imported before is imported twice

    cli.main()


if __name__ == "__main__":
    main()
