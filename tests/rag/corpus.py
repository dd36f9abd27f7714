"""A small corpus that the tests of pipelines share: three articles, each of paragraphs under headings."""

from __future__ import annotations

from lsr.corpus import Document

__all__ = ["DOCUMENTS", "QUESTIONS"]

_ARTICLES = {
    "volcano": (
        "Volcanoes",
        "# Volcanoes\n\nA volcano is a rupture in the crust of a planet. Hot lava, ash and gases escape through it from a"
        " magma chamber below the surface.\n\n## Eruptions\n\nMount Vesuvius buried Pompeii in the year 79. Pliny the Younger"
        " watched the eruption from Misenum, and described it in two letters.\n\nEffusive eruptions pour out lava. Explosive"
        " eruptions throw ash into the stratosphere, where sulfur dioxide cools the climate for years.\n\n## Monitoring\n\n"
        "Seismometers record earthquakes that precede eruptions. Tiltmeters show how the ground swells when magma rises.",
    ),
    "bee": (
        "Honey bees",
        "# Honey bees\n\nHoney bees live in colonies of one queen, some thousand workers and a few hundred drones.\n\n"
        "## Dance\n\nA forager that has found nectar dances on the comb. Karl von Frisch discovered that the waggle dance"
        " tells direction and distance of flowers.\n\nThe angle of the dance from the vertical is the angle of the"
        " flight from the sun.\n\n## Winter\n\nIn winter the bees form a cluster around the queen. They shiver to keep warm,"
        " and live on stored honey.",
    ),
    "printing": (
        "Printing",
        "# Printing\n\nJohannes Gutenberg printed with movable type in Mainz about 1450. His Bible had forty-two lines a"
        " page.\n\n## Offset\n\nOffset printing transfers ink from a plate to a rubber blanket, and from there to paper.\n\n"
        "Newspapers are printed on rolls of paper, which run through the press at fifteen metres a second.",
    ),
}

DOCUMENTS = {id: Document(id, text, title) for id, (title, text) in _ARTICLES.items()}

# Question and the article that answers it.
QUESTIONS = {
    "Who watched the eruption of Vesuvius?": "volcano",
    "What does the waggle dance tell?": "bee",
    "Who printed with movable type?": "printing",
    "How do bees keep warm in winter?": "bee",
}
