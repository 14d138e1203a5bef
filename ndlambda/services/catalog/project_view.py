"""What a token opens: a project with its dataset and channels, read together."""

from collections.abc import Sequence
from dataclasses import dataclass

from ndlambda.errors import ChannelNotFoundError
from ndlambda.model.catalog import Channel, Dataset, Project, Token

DEFAULT_NAME = "default"


@dataclass(frozen=True, slots=True)
class ProjectView:
    """A token and what it opens.

    Attributes
    ----------
    channels
        In the order of their creation.
    """

    token: Token
    project: Project
    dataset: Dataset
    channels: tuple[Channel, ...]

    def channel(self, name: str) -> Channel:
        """Return a channel.

        Raises
        ------
        ChannelNotFoundError
            The project has none of this name.
        """
        for channel in self.channels:
            if channel.name == name:
                return channel
        raise ChannelNotFoundError(
            f"Channel {name!r} does not exist in project {self.project.name!r}.", channel=name
        )

    def default_channel(self) -> Channel:
        """Return the channel that is meant where none is named.

        It is the first created of those with ``default``; where no channel has it, the first.

        Raises
        ------
        ChannelNotFoundError
            The project has no channel.
        """
        for channel in self.channels:
            if channel.default:
                return channel
        if self.channels:
            return self.channels[0]
        raise ChannelNotFoundError(f"Project {self.project.name!r} has no channel.")

    def channels_named(self, names: Sequence[str]) -> tuple[Channel, ...]:
        """Return several channels in the order asked for; ``default`` means the default one.

        Raises
        ------
        ChannelNotFoundError
            One of them does not exist.
        """
        own = {channel.name for channel in self.channels}
        return tuple(
            self.default_channel()
            if name == DEFAULT_NAME and name not in own
            else self.channel(name)
            for name in names
        )
