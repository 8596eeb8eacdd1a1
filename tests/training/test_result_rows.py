"""The keys of a run's rows: equal for runs whose times can be compared."""

from typing import Any

import pytest

from aneperf.training.config import TrainingConfig
from aneperf.training.events import Evaluated
from aneperf.training.result_rows import ResultRows
from support.training_runs import MODEL

LORA = {"lora_rank": 8}


@pytest.mark.parametrize(
    ("options", "variant"),
    [
        ({}, ""),
        ({"as_published": True}, "/as-published"),
        ({"compact_vocabulary": True}, "/compact-40"),
        ({"as_published": True, "compact_vocabulary": True}, "/as-published/compact-40"),
        (LORA, "/lora-8"),
        ({**LORA, "lora_alpha": 8.0, "lora_targets": "down,q,k,v,o,gate,up"}, "/lora-8"),
        ({**LORA, "lora_alpha": 16.0}, "/lora-8-alpha-16"),
        ({**LORA, "lora_targets": "v,q"}, "/lora-8-q-v"),
        (
            {**LORA, "lora_alpha": 0.5, "lora_targets": "up", "compact_vocabulary": True},
            "/lora-8-alpha-0.5-up/compact-40",
        ),
    ],
)
def test_runs_of_other_computations_have_other_keys(options: dict[str, Any], variant: str) -> None:
    validation = Evaluated(3, 2.5, 20, 2.5, 3, 0.0, 0, 1_000_000)
    (row,) = ResultRows("tiny", TrainingConfig(MODEL, **options), vocab=40).of_validation([validation])
    assert row.key == f"training/static/tiny/evaluation{variant}"
    assert (row.median, row.metrics["validation_loss"]) == (1.0, 2.5)
