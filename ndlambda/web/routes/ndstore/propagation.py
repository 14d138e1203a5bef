"""``setPropagate``: ndstore's way to build the coarser resolutions of a channel."""

from werkzeug.wrappers import Response

from ndlambda.errors import InvalidArgumentError
from ndlambda.model.propagation import PropagateState
from ndlambda.services.propagation.service import check_resettable, check_startable
from ndlambda.web.problem import Dialect
from ndlambda.web.request.params import parse_channels
from ndlambda.web.routing import Context, Route


def set_propagate(context: Context, token: str, channels: str, value: str) -> Response:
    """Start the propagation of channels (1), or reset them to not propagated (0).

    Clients may send a list of values, one a channel; only the first character counts, for all
    channels. All channels are checked before the first is changed.
    """
    view = context.runtime.access.open(token, context.principal, write=True)
    parse_channels(value)
    chosen = view.channels_named(list(dict.fromkeys(parse_channels(channels))))
    propagation = context.runtime.propagation
    match value[0]:
        case "1":
            for channel in chosen:
                check_startable(channel)
                if channel.propagate != PropagateState.NOT_PROPAGATED:
                    raise InvalidArgumentError(f"Channel {channel.name!r} is propagated.")
            for channel in chosen:
                propagation.start(
                    view.dataset,
                    channel,
                    owner_id=context.principal.user_id,
                    token=view.token.name,
                )
        case "0":
            for channel in chosen:
                check_resettable(channel)
            for channel in chosen:
                propagation.reset(channel)
        case other:
            raise InvalidArgumentError(f"A channel is set to propagate 0 or 1, not {other!r}.")
    return Response(status=200, content_type="text/html")


ROUTES = (
    Route(
        "GET",
        "/sd/<name:token>/<names:channels>/setPropagate/<segment:value>",
        set_propagate,
        "Start propagation (1), or reset channels to not propagated (0)",
        dialect=Dialect.NDSTORE,
        changes=True,
    ),
)
