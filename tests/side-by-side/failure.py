"""Why a run can't go on."""


class Failure(Exception):
    """Ends the run. The text says what is wrong, and what to do."""
