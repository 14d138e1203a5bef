"""``ndlambda graph``: the synapse graph of an annotation channel."""

from pathlib import Path

import click

from ndlambda.cli import params
from ndlambda.cli.connection import ServerOptions, pass_connection
from ndlambda.cli.output import write_file
from ndlambda.space.box import Box
from ndlambda.wire.graph import formats


@click.command()
@params.channel_address
@params.box_option(
    "Only synapses with voxels in it: half-open ranges of dataset coordinates at the channel's own "
    "resolution.  [default: all synapses]"
)
@click.option(
    "--format",
    "name",
    type=click.Choice(sorted(formats())),
    default="graphml",
    show_default=True,
    help="Format of the file.",
)
@click.option(
    "--directed",
    is_flag=True,
    help="Edges from presynaptic to postsynaptic segments, instead of undirected ones.",
)
@params.output_option("File to write.  [default: standard output]")
@pass_connection
def graph(
    connection: ServerOptions,
    *,
    token: str,
    channel: str,
    box: Box | None,
    name: str,
    directed: bool,
    output: Path | None,
) -> None:
    """Fetch the graph whose nodes are segments and whose edges are synapses.

    \b
    Examples:
      ndlambda graph demo/synapses -o graph.graphml
      ndlambda graph demo/synapses --directed --format json > graph.json
    """
    body = connection.client().graph(token, channel).text(name, box, directed=directed)
    write_file(output, body)
