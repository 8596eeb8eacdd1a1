"""Prediction: the time that a program would take on a chip, from its work and from published figures."""

from .predict import OperationTime, Prediction, predict
from .step import predict_training

__all__ = ["OperationTime", "Prediction", "predict", "predict_training"]
