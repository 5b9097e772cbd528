"""The Triton kernel of CCAR on the CPU: its arithmetic in Triton's interpreter, its code by the compiler for a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.cli.test_commands import REPOSITORY

pytest.importorskip("triton")

pytestmark = pytest.mark.long

# In a process of its own: Triton decides on import whether it interprets.
IN_THE_INTERPRETER = """
import json, torch
from benchmarks.fused_loss import deviations, fused_ccar
from benchmarks.loss_step import long_tail

def error_of(call):
    try: call()
    except Exception as error: return f"{type(error).__name__}: {error}"

loss = fused_ccar(long_tail(10))
once = loss(torch.zeros(2, 10, requires_grad=True), torch.tensor([0, 9]))
once.backward(retain_graph=True)
twice = loss(torch.zeros(2, 10, requires_grad=True), torch.tensor([0, 9]))
print(json.dumps({
    "deviations": list(deviations(torch.device("cpu"))),
    "second backward": error_of(once.backward),
    "second derivative": error_of(lambda: twice.backward(create_graph=True)),
    "unknown labels": [loss(torch.zeros(1, 10), torch.tensor([label])).isnan().item() for label in (-1, 10)],
    "one logit is NaN": loss(torch.zeros(1, 10).index_fill(1, torch.tensor([3]), torch.nan), torch.tensor([0])).item(),
    "largest floats": loss(torch.tensor([[3.4e38, -3.4e38] + [0.0] * 8]), torch.tensor([1])).isfinite().item(),
    "omega": error_of(lambda: fused_ccar(long_tail(10), omega=1.5)),
    "classes": error_of(lambda: fused_ccar(torch.ones(2**16 + 1))),
}))
"""


@pytest.fixture(scope="module")
def interpreted():
    """What the kernel gives, interpreted."""
    command = [sys.executable, "-W", "ignore", "-c", IN_THE_INTERPRETER]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("against", ["float64 autograd", "ccar.losses"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(128, 10), (512, 100), (256, 1000), (256, 8142)])
def test_the_fused_kernel_gives_loss_and_gradient_for_any_logits(interpreted, shape, dtype, against):
    wanted = (list(shape), dtype, against)
    found = [each for each in interpreted["deviations"] if (each["shape"], each["type"], each["against"]) == wanted]
    assert len(found) == 4
    assert [each["logits"] for each in found if not each["right"]] == []


def test_the_fused_kernel_refuses_what_would_come_out_wrong(interpreted):
    assert "given away by its first backward pass" in interpreted["second backward"]
    assert "no second derivative" in interpreted["second derivative"]
    assert "omega must be a number in (0, 1]" in interpreted["omega"]
    assert "at most 65536 classes" in interpreted["classes"]


def test_the_fused_kernel_is_nan_for_what_has_no_loss_and_finite_for_the_largest_logits(interpreted):
    assert interpreted["unknown labels"] == [True, True]
    assert interpreted["one logit is NaN"] != interpreted["one logit is NaN"]
    assert interpreted["largest floats"] is True


@pytest.mark.parametrize("logits", ["*fp32", "*bf16"])
@pytest.mark.parametrize("block", [16, 8192])
def test_the_fused_kernel_compiles_for_an_h200_and_reads_each_logit_once(monkeypatch, tmp_path, block, logits):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")  # what it is unless set; unset it warns
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from benchmarks import fused_loss

    types = {
        "logits": logits,
        "labels": "*i64",
        "frequency": "*fp32",
        "losses": "*fp32",
        "gradient": logits,
        "num_classes": "i32",
        "omega": "fp32",
        "share": "fp32",
        "BLOCK": "constexpr",
    }
    scaling = {"values": logits, "factor": "*fp32", "size": "i32", "BLOCK": "constexpr"}
    for kernel, signature in ((fused_loss.ccar_of_a_row, types), (fused_loss.scale_unless_one, scaling)):
        source = ASTSource(kernel, signature, {"BLOCK": block})
        options = {"num_warps": fused_loss.num_warps_for(block)}
        made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        assert len(made.asm["cubin"]) > 0
        if kernel is fused_loss.ccar_of_a_row:
            # Each thread: its numbers of the row, then label, logit and frequency of the true class, and the loss.
            numbers = max(block // (32 * options["num_warps"]), 1)
            assert made.asm["ptx"].count("ld.global") == numbers + 3
            assert made.asm["ptx"].count("st.global") == numbers + 1


def test_the_twin_of_the_fused_kernel_has_the_published_values():
    from benchmarks.fused_loss import slow_twin

    # Class frequencies of CIFAR-100-LT at imbalance factor 100, as in shared/reference/methods.md, section 1.5.
    counts = torch.tensor([500, 5, 10847 - 505])
    for p, weighted in ((0.01, 9.65092850), (0.5, 0.88998086), (0.9, 0.09713959)):
        logits = torch.tensor([[(1 - p) / 2, p, (1 - p) / 2]], dtype=torch.float64).log()
        assert slow_twin(counts)(logits, torch.tensor([1])).item() == pytest.approx(weighted, abs=1e-8)
