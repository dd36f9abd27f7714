"""Teachers: what a student is to score like. One file a kind."""

from __future__ import annotations

from lsr.training.teachers.bm25 import BM25Teacher
from lsr.training.teachers.cross_encoder import CrossEncoderTeacher
from lsr.training.teachers.dense import DenseTeacher
from lsr.training.teachers.ensemble import Ensemble, Findings, check_targets
from lsr.training.teachers.multivector import MultiVectorTeacher
from lsr.training.teachers.score_file import ScoreFile
from lsr.training.teachers.sparse import SparseScores, SparseTeacher
from lsr.training.teachers.teacher import MatrixTeacher, PairTeacher, Teacher

__all__ = [
    "BM25Teacher",
    "CrossEncoderTeacher",
    "DenseTeacher",
    "Ensemble",
    "Findings",
    "MatrixTeacher",
    "MultiVectorTeacher",
    "PairTeacher",
    "ScoreFile",
    "SparseScores",
    "SparseTeacher",
    "Teacher",
    "check_targets",
]
