"""A whole distillation: the general stage, the tuning of the teacher, then its layers and its answers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from backbones.base import Backbone
from backbones.core.artifacts import digest_json
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled, Task, check_task
from backbones.core.samples import Progress, silent
from backbones.core.settings import Settings
from backbones.encoder import Encoder
from backbones.lifecycle.distill.answers import ROOM, Answers
from backbones.lifecycle.distill.finished import Stages
from backbones.lifecycle.distill.layers import layer_map
from backbones.lifecycle.distill.losses import Matching, Terms
from backbones.lifecycle.distill.stages import Vary, match_answers, match_layers
from backbones.lifecycle.distill.student import Shape, Student, build_student, check_student
from backbones.training.loop import Course, Recipe, Say, mute
from backbones.training.tasks import finetune, fit_linear


class Plan(Settings):
    """How to distil; stages whose recipe is None are left out.

    Args:
        terms: the losses.
        map: layers of the teacher to learn from, see ``layer_map``; None for the even map.
        start: see ``STARTS`` of students.
        general: stage one, on a corpus without labels, from the teacher as it is.
        tune: fine-tuning of the teacher on the task; its head begins as a logistic regression on frozen features. None
            keeps the teacher as it is, with that head.
        layers: stage two, first part.
        answers: stage two, second part.
        head_rate: factor on the rate of heads.
        dropout: whether the student's dropout is on.
        room: bytes of the teacher's answers that may be kept in memory.
        seed: of all that begins random.
    """

    terms: Terms = Terms()
    map: tuple[int, ...] | None = None
    start: str = "layers"
    general: Recipe | None = None
    tune: Recipe | None = Recipe(epochs=2, lr=1e-4)
    layers: Recipe | None = Recipe(epochs=3, lr=2e-4)
    answers: Recipe | None = Recipe(epochs=3, lr=1e-4)
    head_rate: float = 5.0
    dropout: bool = False
    room: int = ROOM
    seed: int = 0


@dataclass
class Distilled:
    """What came out.

    Attributes:
        student: the small model, with how many tensors it took over from its teacher at its start.
        layers: g(1), ..., g(M), see ``layer_map``.
        teacher_head: on the teacher's features, None without a task; student_head: the like on the student's.
        courses: stage -> how it went.
    """

    student: Student
    layers: tuple[int, ...]
    teacher_head: nn.Linear | None = None
    student_head: nn.Linear | None = None
    courses: dict[str, Course] = field(default_factory=dict)


def distil(
    teacher: Backbone,
    student: Backbone | Shape,
    plan: Plan,
    *,
    corpus: Sequence[Any] | None = None,
    data: Labelled | None = None,
    head: nn.Linear | None = None,
    answers: Answers | None = None,
    vary: Vary | None = None,
    folder: Path | None = None,
    progress: Progress = silent,
    say: Say = mute,
) -> Distilled:
    """Distil a teacher into a student by the two stages of TinyBERT (Jiao et al., EMNLP Findings 2020).

    Args:
        teacher: tuned in place on ``data`` if the plan says so and no ``head`` is given.
        student: a model that is trained in place, or the size of one to build: at the start of the general stage, or,
            without one, after the teacher was tuned.
        plan: how.
        corpus: raw inputs of the general stage; needed if the plan has one.
        data: the task; None for the general stage alone.
        head: of the teacher, for the classes of ``data``; None to tune or fit one.
        answers: of the teacher and its head on ``data``, to be shared by several distillations with one map.
        vary: see ``match_layers``.
        folder: for checkpoints; a call that was interrupted goes on where it was.
        progress: told of every step.
        say: told estimates.

    Raises:
        FrostlineError: layers that do not divide, a student that reads inputs in another way, an empty corpus, one
            class, nothing to do, or see ``build_student``, ``Matching`` and ``train``.
    """
    _check_plan(plan, corpus, data)
    depth = student.depth if isinstance(student, Backbone) else student.layers
    layers = layer_map(depth, teacher.depth, plan.map)
    made = _first_student(teacher, student, layers, plan)
    work = _Work(teacher, made, layers, plan, vary, {"progress": progress, "say": say})
    work.stages = Stages(
        folder,
        {
            "plan": plan.model_dump(),
            "corpus": None if corpus is None else _digest(corpus),
            "data": None if data is None else [_digest(data.samples), digest_json(data.labels.tolist())],
            "models": [teacher.fingerprint(), made.backbone.fingerprint()],
        },
    )
    if plan.general is not None and corpus is not None:
        work.match("general", corpus, plan.general)
    if data is None:
        return work.done
    work.teach(data, head)
    if plan.general is None and not isinstance(student, Backbone):
        work.begin(_first_student(teacher, student, layers, plan))  # from the tuned teacher's layers
    answers = answers or work.answers(data)
    if plan.layers is not None and plan.terms.intermediate:
        work.match("layers", data.samples, plan.layers, answers)
    work.answer(data, answers)
    return work.done


def _digest(samples: Sequence[Any]) -> str:
    """Return the digest of texts; of images, which would all have to be read, of how many there are."""
    texts = list(samples) if len(samples) and isinstance(samples[0], str) else []
    return digest_json([len(samples), texts])


def _check_plan(plan: Plan, corpus: Sequence[Any] | None, data: Labelled | None) -> None:
    if (plan.general is not None) != (corpus is not None) or (corpus is None and data is None):
        raise FrostlineError(
            "distillation needs a corpus and a recipe for the general stage, or labelled data, or both; "
            f"there is {'no' if corpus is None else 'a'} corpus, {'no' if plan.general is None else 'a'} recipe for it "
            f"and {'no' if data is None else 'some'} labelled data."
        )
    if data is not None:
        check_task(Task("the task", data, data))


def _first_student(teacher: Backbone, student: Backbone | Shape, layers: tuple[int, ...], plan: Plan) -> Student:
    if isinstance(student, Backbone):
        check_student(student, teacher)
        return Student(student, 0, len(student.module.state_dict()))
    return build_student(teacher, student, layers, plan.start, plan.seed)


class _Work:
    """The models and settings of a distillation, and its stages one by one."""

    stages: Stages

    def __init__(
        self,
        teacher: Backbone,
        student: Student,
        layers: tuple[int, ...],
        plan: Plan,
        vary: Vary | None,
        shared: dict[str, Any],
    ) -> None:
        self.teacher, self.layers, self.plan = teacher, layers, plan
        self.shared = shared
        self.usual = {"vary": vary, "dropout": plan.dropout, **shared}
        self.done = Distilled(student, layers)
        self.begin(student)

    def begin(self, student: Student) -> None:
        """Take a student that has learned nothing yet."""
        self.done.student = student
        self.student = student.backbone
        self.matching = Matching(self.student, self.teacher, self.layers, self.plan.terms, self.plan.seed)

    def match(self, stage: str, samples: Sequence[Any], recipe: Recipe, answers: Answers | None = None) -> None:
        answers = answers or Answers(self.teacher, self.layers, self.plan.terms, room=self._room(recipe, len(samples)))

        def run(checkpoint: Path | None) -> Course:
            return match_layers(
                self.student,
                answers,
                self.matching,
                samples,
                recipe,
                checkpoint=checkpoint,
                phase=f"{stage} stage",
                **self.usual,
            )

        modules = {"student": self.student.module, "matching": self.matching}
        self.done.courses[stage] = self.stages.once(stage, modules, run)

    def teach(self, data: Labelled, head: nn.Linear | None) -> None:
        """Take the teacher's head, or fit one and tune the teacher with it."""
        if head is not None:
            _check_head(head, self.teacher, data)
            self.done.teacher_head = head
            return
        blank = nn.Linear(self.teacher.width, len(data.classes), device="meta")  # draws nothing
        self.done.teacher_head = found = blank.to_empty(device="cpu")

        def run(checkpoint: Path | None) -> Course:
            self.shared["progress"]("fitting the teacher's head", 0, 1)
            features = Encoder(self.teacher, precision="fp32").features(list(data.samples))
            found.load_state_dict(fit_linear(features, data.labels, len(data.classes)).state_dict())
            self.shared["progress"]("fitting the teacher's head", 1, 1)
            if self.plan.tune is None:
                return Course()
            return finetune(
                self.teacher,
                data,
                self.plan.tune,
                full=True,
                head=found,
                head_rate=self.plan.head_rate,
                checkpoint=checkpoint,
                keep=True,
                phase="tuning the teacher",
                **self.shared,
            ).course

        course = self.stages.once("teacher", {"teacher": self.teacher.module, "head": found}, run)
        found.requires_grad_(False)
        if self.plan.tune is not None:
            self.done.courses["teacher"] = course

    def answers(self, data: Labelled) -> Answers:
        """Return the teacher's answers on the task."""
        assert self.done.teacher_head is not None
        head = copy.deepcopy(self.done.teacher_head).to(self.teacher.device)  # the caller's own stays where it is
        room = 0 if self.plan.layers is None else self._room(self.plan.layers, len(data))
        return Answers(self.teacher, self.layers, self.plan.terms, head, room)

    def _room(self, recipe: Recipe, count: int) -> int:
        """Return the room for what layers say: none where no input comes back as it was."""
        comes_back = recipe.length(count) * recipe.batch > count and self.usual["vary"] is None
        return self.plan.room if comes_back else 0

    def answer(self, data: Labelled, answers: Answers) -> None:
        assert self.done.teacher_head is not None
        self.done.student_head = head = first_head(self.student, self.teacher, self.done.teacher_head, data)
        recipe = self.plan.answers
        if recipe is None:
            return

        def run(checkpoint: Path | None) -> Course:
            return match_answers(
                self.student,
                head,
                answers,
                data,
                self.matching,
                recipe,
                head_rate=self.plan.head_rate,
                checkpoint=checkpoint,
                phase="answers stage",
                **self.usual,
            )

        modules = {"student": self.student.module, "head": head}
        self.done.courses["answers"] = self.stages.once("answers", modules, run)
        head.requires_grad_(False)


def _check_head(head: nn.Linear, teacher: Backbone, data: Labelled) -> None:
    wanted = (len(data.classes), teacher.width)
    if tuple(head.weight.shape) != wanted:
        raise FrostlineError(
            f"the teacher's head has shape {tuple(head.weight.shape)}, but {wanted[0]} classes on features of "
            f"{wanted[1]} need {wanted}; leave the head out to fit one."
        )


def first_head(student: Backbone, teacher: Backbone, head: nn.Linear, data: Labelled) -> nn.Linear:
    """Return the head that a student begins with: its teacher's where widths agree, else one fitted on its features."""
    if student.width == teacher.width:
        return copy.deepcopy(head).to(student.device)
    features = Encoder(student, precision="fp32").features(list(data.samples))
    return fit_linear(features, data.labels, len(data.classes)).to(student.device)
