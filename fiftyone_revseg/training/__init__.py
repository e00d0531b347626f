"""Learning: how the embedded models are made, from the synthetic world alone."""

from fiftyone_revseg.training.sft import SftConfig, train_sft
from fiftyone_revseg.training.tracker import TrackerTraining, train_tracker

__all__ = ["SftConfig", "TrackerTraining", "train_sft", "train_tracker"]
