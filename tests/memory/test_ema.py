import torch
from torch import nn

from uda_hydra.memory import EmaTeacher
from uda_hydra.types import Prediction


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, image):
        features = self.norm(self.conv(image))
        return Prediction(main=features, aux=None, features=features)


def pair(momentum: float) -> tuple[Student, EmaTeacher]:
    torch.manual_seed(0)
    student = Student()
    return student, EmaTeacher(student, momentum=momentum)


def test_weights_move_by_one_minus_momentum():
    student, teacher = pair(momentum=0.75)
    with torch.no_grad():
        student.conv.bias.copy_(torch.tensor([4.0, 0.0, -4.0, 8.0]))
        teacher.network.conv.bias.copy_(torch.tensor([0.0, 4.0, 0.0, 8.0]))

    teacher.follow(student)

    assert teacher.network.conv.bias.tolist() == [1, 3, -1, 8]


def test_following_equal_weights_changes_no_bit():
    student, teacher = pair(momentum=0.999)
    before = [p.clone() for p in teacher.network.parameters()]
    teacher.follow(student)
    assert all(a.equal(b) for a, b in zip(before, teacher.network.parameters(), strict=True))


def test_buffers_are_copied():
    student, teacher = pair(momentum=0.999)
    student.train()(torch.randn(2, 3, 4, 4))
    teacher.follow(student)
    assert teacher.network.norm.running_mean.equal(student.norm.running_mean)
    assert teacher.network.norm.num_batches_tracked.item() == 1


def test_the_teacher_is_a_copy_that_is_never_trained():
    student, teacher = pair(momentum=0.9)
    with torch.no_grad():
        student.conv.weight.zero_()
    assert teacher.network.conv.weight.abs().sum() > 0
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not teacher(torch.randn(1, 3, 4, 4)).main.requires_grad


def test_a_student_that_is_trained_stays_trainable():
    student, teacher = pair(momentum=0.9)
    teacher.follow(student)
    assert all(p.requires_grad for p in student.parameters())


def test_in_train_mode_batch_norm_uses_the_batch():
    _, teacher = pair(momentum=0.9)
    image = 5 + torch.randn(1, 3, 8, 8)
    main = teacher.train()(image).main
    torch.testing.assert_close(main.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
