"""Log messages: coloured on a terminal, elsewhere plain lines with date and level."""

import logging
import sys


class _Lines(logging.StreamHandler):
    """To standard error as it is when a message comes: a model may have closed the one before."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def set_up_logging(verbose: bool = False) -> None:
    """Sends the messages of the package to standard error; with `verbose`, also those for debugging."""
    handler: logging.Handler
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=False, rich_tracebacks=False)
        handler.setFormatter(logging.Formatter("%(message)s", datefmt="[%X]"))
    else:
        handler = _Lines()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("forceserver")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
