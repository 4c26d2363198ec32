import pytest
import torch
from torch import nn

from uda_hydra.memory import EmaTeacher, ema_momentum
from uda_hydra.types import Prediction


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout2d(0.5)

    def forward(self, image):
        features = self.dropout(self.norm(self.conv(image)))
        return Prediction(main=features, aux=None, features=features)


def pair(**options) -> tuple[Student, EmaTeacher]:
    torch.manual_seed(0)
    student = Student()
    return student, EmaTeacher(student, **options)


def test_weights_move_by_one_minus_momentum():
    student, teacher = pair()
    with torch.no_grad():
        student.conv.bias.copy_(torch.tensor([4.0, 0.0, -4.0, 8.0]))
        teacher.network.conv.bias.copy_(torch.tensor([0.0, 4.0, 0.0, 8.0]))

    teacher.follow(student, momentum=0.75)

    assert teacher.network.conv.bias.tolist() == [1, 3, -1, 8]


def test_following_equal_weights_changes_no_bit():
    student, teacher = pair()
    before = [p.clone() for p in teacher.network.parameters()]
    teacher.follow(student, momentum=0.999)
    assert all(a.equal(b) for a, b in zip(before, teacher.network.parameters(), strict=True))


def test_buffers_are_copied():
    student, teacher = pair()
    student.train()(torch.randn(2, 3, 4, 4))
    teacher.follow(student, momentum=0.999)
    assert teacher.network.norm.running_mean.equal(student.norm.running_mean)
    assert teacher.network.norm.num_batches_tracked.item() == 1


def test_buffers_may_stay_the_teachers_own():
    student, teacher = pair()
    student.train()(torch.randn(2, 3, 4, 4))
    teacher.follow(student, momentum=0.0, buffers="keep")
    assert teacher.network.norm.running_mean.eq(0).all()
    assert teacher.network.conv.weight.equal(student.conv.weight)


def test_the_ramp_copies_first_and_averages_up_to_its_limit():
    # modern self-training, DACS and DAFormer: a of step 0, 1, 2, 9, 99 and 999.
    momenta = [ema_momentum(step, 0.999) for step in (0, 1, 2, 9, 99, 999, 10**6)]
    assert momenta == pytest.approx([0, 0.5, 2 / 3, 0.9, 0.99, 0.999, 0.999], abs=1e-12)


def test_two_steps_of_the_ramp_by_hand():
    student, teacher = pair()
    for step, value in enumerate((3.0, 5.0)):
        with torch.no_grad():
            student.conv.bias.fill_(value)
        teacher.follow(student, momentum=ema_momentum(step, 0.999))
    assert teacher.network.conv.bias.tolist() == [4] * 4


@pytest.mark.parametrize("drops", [True, False])
def test_without_drops_only_batch_norm_trains(drops):
    _, teacher = pair(drops=drops)
    for mode in (True, False):
        teacher.train(mode)
        assert teacher.network.norm.training == mode
        assert teacher.network.dropout.training == (mode and drops)


def test_the_teacher_is_a_copy_that_is_never_trained():
    student, teacher = pair()
    with torch.no_grad():
        student.conv.weight.zero_()
    assert teacher.network.conv.weight.abs().sum() > 0
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not teacher(torch.randn(1, 3, 4, 4)).main.requires_grad


def test_a_student_that_is_trained_stays_trainable():
    student, teacher = pair()
    teacher.follow(student, momentum=0.999)
    assert all(p.requires_grad for p in student.parameters())


def test_in_train_mode_batch_norm_uses_the_batch():
    _, teacher = pair(drops=False)
    image = 5 + torch.randn(1, 3, 8, 8)
    main = teacher.train()(image).main
    torch.testing.assert_close(main.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
