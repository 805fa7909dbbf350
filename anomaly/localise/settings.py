"""Every number of the localiser with the reason for it.

"Tuning data" are the labelled incidents that `benchmarks/localise` is run on; its README has the figures.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioSettings:
    """For bad events of a total, with a history of minutes."""

    history_minutes: int = 10
    """Long enough for a rate per leaf, short enough to follow the hour of the day."""

    leaf_weight: float = 3.0
    """Bad events of prior a leaf's own rate is shrunk with: a leaf must show a few before it speaks for itself."""

    value_weight: float = 20.0
    """Bad events of prior each dimension value's factor is shrunk to 1 with."""

    prior_clip: float = 5.0
    """A leaf's prior stays within global rate / 5 .. x 5: a product of factors overshoots where they overlap."""

    max_order: int = 4
    """Dimensions per cause. Two lose incidents on the tuning data; three and four answer the same there."""

    min_support_share: float = 0.05
    """Cells with less than 5% of all bad events are not looked at: they cannot be what an operator sees. It bounds
    the work, too: at most 20 cells per cuboid."""

    min_bad: float = 10.0
    """Fewer bad events in the whole minute cannot be told from chance in any cell: insufficient data."""

    min_core_excess: float = 7.0
    """Log likelihood ratio, in nats, that the most conspicuous cell must reach beyond ln(number of cells): the
    luckiest of that many cells does so in about one minute of a thousand."""

    min_answer_share: float = 0.15
    """Excess of the answer over all bad events. Minutes without incident reach a tenth, because rates scatter more
    than chance."""

    min_contrast: float = 1.35
    """Growth inside the answer over growth outside that an answer must have: rates of whole cells scatter by 10 to 15%
    from minute to minute. Tuning incidents lie above 1.6."""

    diffuse_degree: float = 0.5
    """Growth outside the answer, as a power of the growth inside, from which on all got worse. Tuning incidents stay
    below 0.4, generated diffuse ones lie above 0.8."""

    rest_weight: float = 0.05
    """Part of all expected bad events with which the growth of the rest is drawn to 1: a small rest is often touched
    by the same trouble and does not make it general."""

    min_rest_share: float = 0.05
    """When less than this part of the expected bad events lies outside an answer of several causes, the largest
    alone is compared with the rest: what covers everything explains nothing."""

    leaf_variance: float = 0.008
    """Relative variance of the rates of leaves within one cell, a scatter of 9%. It bounds how loudly one large leaf
    speaks; without it F1 on the tuning data hangs on the exact severity. Flat from 0.004 to 0.015."""

    cell_variance: float = 0.0025
    """Relative variance from minute to minute of a whole cell's rate without any incident: 5%, boxes being
    correlated."""

    least_degree: float = 0.5
    """Leaves that followed the core less than half of the way are not part of its cause."""

    order_cost: float = 0.25
    """Nats per dimension of a combination, so that of two that explain the same the shorter one wins."""

    order_cost_share: float = 0.001
    """The same as a part of the largest gain: with many events, tiny differences in gain are not evidence."""

    extra_cells: int = 2
    """Further cells of the same cuboid that may count for it when cuboids are compared."""

    extra_min_share: float = 0.15
    """Such a cell must bring this part of the best cell's gain ..."""

    extra_cost: float = 0.1
    """... and more than this part of the largest gain beyond the cost of its dimensions."""

    max_causes: int = 5
    """An answer longer than this is no explanation."""

    min_cause_share: float = 0.1
    """Every further cause of an answer holds this part of all bad events as its excess ..."""

    min_gain_share: float = 0.12
    """... and brings this part of the first cause's gain. What is left of the tuning incidents after their labelled
    cause stays below one or the other."""

    candidates: int = 5
    """Causes reported after the answer."""

    equivalent_tolerance: float = 0.05
    """Two combinations are equivalent when the leaves by which they differ carry at most this part of the
    cause's total and of its bad events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountSettings:
    """For real counts against a forecast, without history."""

    max_order: int = 5
    """The published generator injects causes of up to five dimensions."""

    min_gain: float = 3.0
    """Nats beyond its description cost that a cause must explain."""

    min_leaves: int = 2
    """One leaf has nothing to be compared with."""

    min_noise_share: float = 0.001
    """Cores that deviate by less than a thousandth of what the noise of all leaves adds up to are not looked for. On
    the tuning data that is 12 nats of 48,000 leaves and changes nothing; with 200,000 leaves it bounds the search."""

    min_noise: float = 0.01
    """A forecast is not believed to better than 1% per leaf."""

    min_level: float = 0.05
    """Mean deviation of a cause's leaves: below 5% it may be a bias of the forecast, which many leaves make certain
    but not interesting."""

    min_level_sigmas: float = 0.5
    """The same in units of the noise: relative errors are skewed, so their mean is not quite 0 without any cause."""

    outlier_sigmas: float = 5.0
    """A leaf further out than this on the side where nothing is wrong is an outlier; their share among the leaves of
    that side is the chance, assumed for every leaf, to deviate for reasons of its own."""

    min_outlier_share: float = 1e-8
    """That chance where no outlier was seen: a single leaf may then be a cause when noise alone cannot explain it."""

    max_causes: int = 20
    """An answer longer than this is no explanation."""

    candidate_share: float = 0.1
    """Cells with less than a tenth of the first core's gain are not reported as candidates; not looking at them saves
    time. They may still become causes once the stronger ones are taken off."""

    candidates: int = 5
    """Causes reported after the answer."""

    equivalent_tolerance: float = 0.05
    """As for ratios, on the real and the forecast counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSettings:
    """For joining causes with changes."""

    nearly_all: float = 0.9
    """Traffic shared by scope and cause above which one holds the other: registries and clients disagree on some."""

    slack_ms: int = 60_000
    """A change may start within the onset's own minute."""

    max_delay_ms: int = 24 * 3_600_000
    """Older changes have seen the same hour of the day without trouble."""

    half_life_ms: int = 30 * 60_000
    """Of two changes with the same scope the later one is the likelier culprit."""
