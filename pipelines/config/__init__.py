"""Every setting of every job: its type, its range, its default and what it means.

One frozen tree a job. `command_line.py` fills it from defaults, then a YAML file, then `key=value`.
"""

from pipelines.config.base import InputError, Settings, digest_of
from pipelines.config.elastic import ElasticSettings
from pipelines.config.evaluate import EMA_SUFFIX, EnsembleSettings, EvaluateSettings
from pipelines.config.horovod import HorovodSettings
from pipelines.config.loader import LoaderSettings
from pipelines.config.preprocess import (
    AugmentSettings,
    ImageSettings,
    OutputSettings,
    PreprocessSettings,
    SourceKind,
    SourceSettings,
)
from pipelines.config.protocol import ProtocolSettings
from pipelines.config.report import ReportSettings
from pipelines.config.score import ScoreOutputSettings, ScoreSettings, ScoreSourceSettings
from pipelines.config.secrets import without_secrets
from pipelines.config.summarize import SummarizeSettings
from pipelines.config.sync import SyncSettings
from pipelines.config.tracking import TrackingSettings
from pipelines.config.train import (
    MixingSettings,
    ModelSettings,
    OptimizerSettings,
    PrecisionKind,
    ScheduleSettings,
    TrainSettings,
)
from pipelines.config.transforms import (
    Affine,
    CentreCrop,
    ColourJitter,
    MultiScale,
    Pad,
    PcaLighting,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    Resize,
    ScaleJitter,
    TenCrop,
    Transform,
)
from pipelines.config.visualize import VisualizeSettings

__all__ = [
    "EMA_SUFFIX",
    "Affine",
    "AugmentSettings",
    "CentreCrop",
    "ColourJitter",
    "ElasticSettings",
    "EnsembleSettings",
    "EvaluateSettings",
    "HorovodSettings",
    "ImageSettings",
    "InputError",
    "LoaderSettings",
    "MixingSettings",
    "ModelSettings",
    "MultiScale",
    "OptimizerSettings",
    "OutputSettings",
    "Pad",
    "PcaLighting",
    "PrecisionKind",
    "PreprocessSettings",
    "ProtocolSettings",
    "RandomCrop",
    "RandomFlip",
    "RandomResizedCrop",
    "ReportSettings",
    "Resize",
    "ScaleJitter",
    "ScheduleSettings",
    "ScoreOutputSettings",
    "ScoreSettings",
    "ScoreSourceSettings",
    "Settings",
    "SourceKind",
    "SourceSettings",
    "SummarizeSettings",
    "SyncSettings",
    "TenCrop",
    "TrackingSettings",
    "TrainSettings",
    "Transform",
    "VisualizeSettings",
    "digest_of",
    "without_secrets",
]
