"""How much of its time a function may still use."""


def remaining_s(context: object, *, margin_s: float, otherwise_s: float) -> float:
    """Return the seconds that an invocation has left, less a margin.

    Parameters
    ----------
    context
        Of Lambda; anything else on one machine.
    margin_s
        Kept for what comes after; at most half of what is left.
    otherwise_s
        The answer where the context does not say.
    """
    left_in_ms = getattr(context, "get_remaining_time_in_millis", None)
    if left_in_ms is None:
        return otherwise_s
    left_s: float = left_in_ms() / 1000
    return max(left_s - margin_s, left_s / 2)
